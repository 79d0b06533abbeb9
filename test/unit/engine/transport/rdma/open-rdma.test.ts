import { describe, expect, test } from 'vitest';
import { openRdma } from '../../../../../src/engine/transport/rdma/open-rdma.ts';
import type { RdmaDeviceInfo } from '../../../../../src/engine/transport/rdma/rdma-devices.ts';
import { silentLogger } from '../../../../../src/observability/logger.ts';

const down: RdmaDeviceInfo = {
  name: 'mlx5_0',
  port: 1,
  isUp: false,
  link: 'ethernet',
  rate: undefined,
  numaNode: undefined,
  gid: undefined,
  unusableBecause: 'port 1 is DOWN',
};

async function open(
  devices: readonly RdmaDeviceInfo[],
  reason: string | undefined,
  cards?: readonly string[],
  warned: unknown[] = [],
): Promise<unknown> {
  return await openRdma({
    segmentName: 'a',
    matrix: cards && { '*': [cards, []] },
    logger: { ...silentLogger, warn: (fields) => warned.push(fields) },
    discover: () => ({ devices, reason }),
  });
}

describe('openRdma()', () => {
  test('says why there is none', async () => {
    expect(await open([], 'no library')).toBe('no library');
    expect(await open([down], 'mlx5_0: port 1 is DOWN')).toBe('mlx5_0: port 1 is DOWN');
    expect(await open([{ ...down, unusableBecause: undefined }], undefined, ['eth0'])).toBe(
      'the NIC priority matrix names no RDMA device',
    );
  });

  test('warns of each card that was named and cannot be used', async () => {
    const warned: unknown[] = [];
    expect(await open([down], 'mlx5_0: port 1 is DOWN', ['mlx5_0'], warned)).toBe('mlx5_0: port 1 is DOWN');
    expect(warned).toEqual([{ device: 'mlx5_0', reason: 'port 1 is DOWN' }]);
  });
});
