import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { discoverRdmaDevices } from '../../../../../src/engine/transport/rdma/rdma-devices.ts';
import { makeTemporaryFolder } from '../../../../support/temporary-folder.ts';

const GID = '0000:0000:0000:0000:0000:ffff:0a09:0001';
const NO_GID = '0000:0000:0000:0000:0000:0000:0000:0000';

/** A device as sysfs shows it. */
function writeDevice(sysfs: string, name: string, files: Readonly<Record<string, string>>): void {
  for (const [file, text] of Object.entries(files)) {
    const target = path.join(sysfs, name, file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, `${text}\n`);
  }
}

const up = {
  'device/numa_node': '1',
  'ports/1/state': '4: ACTIVE',
  'ports/1/link_layer': 'Ethernet',
  'ports/1/rate': '100 Gb/sec (4X EDR)',
  'ports/1/gids/0': 'fe80:0000:0000:0000:48c0:6aff:fe51:9822',
  'ports/1/gids/1': GID,
  'ports/1/gids/2': GID,
  'ports/1/gid_attrs/types/0': 'RoCE v2',
  'ports/1/gid_attrs/types/1': 'IB/RoCE v1',
  'ports/1/gid_attrs/types/2': 'RoCE v2',
  'ports/1/gid_attrs/ndevs/2': 'eth2',
};

describe('discoverRdmaDevices()', () => {
  test('describes what can be used, and says of the others why they cannot', async () => {
    await using folder = await makeTemporaryFolder();
    const sysfs = folder.path;
    writeDevice(sysfs, 'mlx5_0', up);
    writeDevice(sysfs, 'mlx5_1', { ...up, 'ports/1/state': '1: DOWN' });
    writeDevice(sysfs, 'mlx5_2', {
      'ports/1/state': '4: ACTIVE',
      'ports/1/link_layer': 'Ethernet',
      'ports/1/gids/0': NO_GID,
    });
    writeDevice(sysfs, 'ib0', {
      'ports/1/state': '1: DOWN',
      'ports/2/state': '4: ACTIVE',
      'ports/2/link_layer': 'InfiniBand',
      'ports/2/gids/0': 'fe80:0000:0000:0000:0002:c903:0010:1112',
    });
    const names = ['mlx5_0', 'mlx5_1', 'mlx5_2', 'ib0'];
    const { devices, reason } = discoverRdmaDevices({ sysfs, list: () => ({ names }) });
    expect(reason).toBeUndefined();
    expect(devices).toMatchObject([
      {
        name: 'mlx5_0',
        port: 1,
        isUp: true,
        link: 'ethernet',
        rate: '100 Gb/sec (4X EDR)',
        numaNode: 1,
        gid: { index: 2, type: 'RoCE v2', interface: 'eth2', gid: '00:00:00:00:00:00:00:00:00:00:ff:ff:0a:09:00:01' },
        unusableBecause: undefined,
      },
      { name: 'mlx5_1', isUp: false, unusableBecause: 'port 1 is DOWN' },
      { name: 'mlx5_2', numaNode: undefined, gid: undefined, unusableBecause: expect.stringContaining('no GID') },
      { name: 'ib0', port: 2, link: 'infiniband', gid: { index: 0, type: 'InfiniBand' }, unusableBecause: undefined },
    ]);
  });

  test('says why there is nothing to use', async () => {
    await using folder = await makeTemporaryFolder();
    const sysfs = folder.path;
    expect(discoverRdmaDevices({ sysfs, list: () => ({ names: [], reason: 'no library' }) })).toEqual({
      devices: [],
      reason: 'no library',
    });
    writeDevice(sysfs, 'mlx5_0', { ...up, 'ports/1/state': '1: DOWN' });
    const { reason } = discoverRdmaDevices({ sysfs, list: () => ({ names: ['mlx5_0'] }) });
    expect(reason).toBe('mlx5_0: port 1 is DOWN');
  });
});
