import { describe, expect, test } from 'vitest';
import { addEngineMetrics, type EngineFacts } from '../../../src/engine/engine-metrics.ts';
import type { PathStatus } from '../../../src/engine/paths/path-status.ts';
import { TransferCounts } from '../../../src/engine/transfer-counts.ts';
import { MetricSamples } from '../../../src/observability/metric-samples.ts';
import { metricOf } from '../../support/metrics-text.ts';

const PATH: PathStatus = {
  peer: 'trainer',
  localCard: 'eth0',
  localAddress: '10.0.0.1',
  remoteCard: 'eth0',
  remoteAddress: '10.0.0.2',
  remotePort: 7000,
  state: 'up',
  bytes: 100,
  inflightBytes: 10,
  bytesPerSecond: 50,
  faults: 0,
  lastFault: undefined,
  heldBackMs: 0,
};

function textOf(facts: Partial<EngineFacts>): Promise<string> {
  const samples = new MetricSamples();
  const nothing = { paths: [], choices: [], counts: new TransferCounts(), served: { read: 0, write: 0 } };
  addEngineMetrics(samples, { ...nothing, ...facts });
  return samples.format();
}

function stateIn(text: string, labels: Readonly<Record<string, string>>): string {
  const states = ['new', 'up', 'held', 'down'];
  return states.filter((state) => metricOf(text, 'p2pstore_path_state', { ...labels, state }) === 1).join(' ');
}

describe('addEngineMetrics', () => {
  test('tells paths apart by their cards and addresses, and each is in one state', async () => {
    const other = { ...PATH, localCard: 'eth1', remoteAddress: 'fd00::2', state: 'down', faults: 3 } as const;
    const text = await textOf({ paths: [PATH, other] });
    expect(stateIn(text, { local_card: 'eth0' })).toBe('up');
    expect(stateIn(text, { local_card: 'eth1', remote_address: '[fd00::2]:7000' })).toBe('down');
    const labels = { peer: 'trainer', local_card: 'eth0', remote_card: 'eth0', remote_address: '10.0.0.2:7000' };
    expect(metricOf(text, 'p2pstore_path_bytes_total', labels)).toBe(100);
    expect(metricOf(text, 'p2pstore_path_in_flight_bytes', labels)).toBe(10);
    expect(metricOf(text, 'p2pstore_path_bytes_per_second', labels)).toBe(50);
    expect(metricOf(text, 'p2pstore_path_faults_total', { local_card: 'eth1' })).toBe(3);
  });

  test.each([
    ['up', 'new', 'up'],
    ['held', 'up', 'held'],
    ['down', 'held', 'down'],
  ] as const)(
    'a path of bulk that is %s and one of urgent requests that is %s are one that is %s',
    async (a, b, one) => {
      const [bulk, urgent]: PathStatus[] = [
        { ...PATH, state: a },
        { ...PATH, state: b, bytes: 1, faults: 1 },
      ];
      for (const paths of [
        [bulk, urgent],
        [urgent, bulk],
      ] as PathStatus[][]) {
        const text = await textOf({ paths });
        expect(stateIn(text, {})).toBe(one);
        expect(metricOf(text, 'p2pstore_path_bytes_total')).toBe(101);
        expect(metricOf(text, 'p2pstore_path_faults_total')).toBe(1);
      }
    },
  );

  test('a path without cards has empty labels', async () => {
    const text = await textOf({ paths: [{ ...PATH, localCard: undefined, remoteCard: undefined }] });
    expect(metricOf(text, 'p2pstore_path_bytes_total', { local_card: '', remote_card: '' })).toBe(100);
  });

  test('counts segments by transport, and those that none leads to', async () => {
    const choice = { segment: 'a', reason: 'test' };
    const choices = [
      { ...choice, transport: 'tcp' },
      { ...choice, transport: 'tcp' },
      { ...choice, transport: undefined },
    ] as const;
    const text = await textOf({ choices });
    const peers = ['tcp', 'none', 'rdma'].map((transport) => metricOf(text, 'p2pstore_transfer_peers', { transport }));
    expect(peers).toEqual([2, 1, 0]);
  });

  test('shows what was counted, from 0 on', async () => {
    const counts = new TransferCounts();
    counts.bytes.rdma.write = 5;
    counts.tasks.FAILED = 2;
    const text = await textOf({ counts, served: { read: 7, write: 0 } });
    const moved = (transport: string): unknown[] =>
      ['read', 'write'].map((operation) => metricOf(text, 'p2pstore_transfer_bytes_total', { transport, operation }));
    expect({ rdma: moved('rdma'), tcp: moved('tcp') }).toEqual({ rdma: [0, 5], tcp: [0, 0] });
    expect(metricOf(text, 'p2pstore_transfer_tasks_total', { status: 'failed' })).toBe(2);
    expect(metricOf(text, 'p2pstore_transfer_tasks_total', { status: 'completed' })).toBe(0);
    expect(metricOf(text, 'p2pstore_served_bytes_total', { operation: 'read' })).toBe(7);
  });
});
