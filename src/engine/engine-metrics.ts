/** The metrics of one engine, read when somebody asks. */
import { hostPort } from '../core/host-port.ts';
import type { MetricSamples } from '../observability/metric-samples.ts';
import type { PathState } from './paths/path-health.ts';
import type { PathStatus } from './paths/path-status.ts';
import type { MovedBytes, TransferCounts } from './transfer-counts.ts';
import { TRANSPORT_NAMES } from './transport/transport.ts';
import type { TransportChoice } from './transport-route.ts';

export interface EngineFacts {
  readonly paths: readonly PathStatus[];
  readonly choices: readonly TransportChoice[];
  readonly counts: TransferCounts;
  /** Of peers, over TCP. */
  readonly served: MovedBytes;
}

/** Where the same way has several queues, as urgent requests have their own, the first of these states is that of the way. */
const STATES: readonly PathState[] = ['down', 'held', 'up', 'new'];

export function addEngineMetrics(samples: MetricSamples, { paths, choices, counts, served }: EngineFacts): void {
  for (const same of groupByWay(paths)) addPath(samples, same);
  const peers: Record<string, number> = Object.fromEntries([...TRANSPORT_NAMES, 'none'].map((name) => [name, 0]));
  for (const { transport = 'none' } of choices) peers[transport] = (peers[transport] ?? 0) + 1;
  samples.addEach('p2pstore_transfer_peers', 'transport', peers);
  for (const transport of TRANSPORT_NAMES) {
    const { read, write } = counts.bytes[transport];
    samples.add('p2pstore_transfer_bytes_total', { transport, operation: 'read' }, read);
    samples.add('p2pstore_transfer_bytes_total', { transport, operation: 'write' }, write);
  }
  for (const [status, count] of Object.entries(counts.tasks)) {
    samples.add('p2pstore_transfer_tasks_total', { status: status.toLowerCase() }, count);
  }
  samples.add('p2pstore_served_bytes_total', { operation: 'read' }, served.read);
  samples.add('p2pstore_served_bytes_total', { operation: 'write' }, served.write);
}

type Way = readonly [PathStatus, ...PathStatus[]];

function groupByWay(paths: readonly PathStatus[]): Way[] {
  const ways = new Map<string, [PathStatus, ...PathStatus[]]>();
  for (const path of paths) {
    const key = JSON.stringify(Object.values(labelsOf(path)));
    const way = ways.get(key);
    if (way === undefined) ways.set(key, [path]);
    else way.push(path);
  }
  return [...ways.values()];
}

function labelsOf({ peer, localCard = '', remoteCard = '', remoteAddress, remotePort }: PathStatus): {
  peer: string;
  local_card: string;
  remote_card: string;
  remote_address: string;
} {
  const address = hostPort(remoteAddress, remotePort);
  return { peer, local_card: localCard, remote_card: remoteCard, remote_address: address };
}

function addPath(samples: MetricSamples, way: Way): void {
  const labels = labelsOf(way[0]);
  const wayState = STATES.find((state) => way.some((path) => path.state === state));
  for (const state of STATES) samples.add('p2pstore_path_state', { ...labels, state }, state === wayState ? 1 : 0);
  for (const { bytes, inflightBytes, bytesPerSecond, faults } of way) {
    samples.add('p2pstore_path_bytes_total', labels, bytes);
    samples.add('p2pstore_path_in_flight_bytes', labels, inflightBytes);
    samples.add('p2pstore_path_bytes_per_second', labels, bytesPerSecond);
    samples.add('p2pstore_path_faults_total', labels, faults);
  }
}
