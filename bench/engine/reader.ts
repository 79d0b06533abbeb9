/**
 * READs from the server's segment over one transport.
 *
 *   read CONNECTIONS REQUEST_BYTES BATCH    all BYTES, one batch after the other; answers with seconds and CPU seconds
 *   latency COUNT REQUEST_BYTES             one request after the other; answers with microseconds
 */
import { allocate, TransferEngine, type TransferRequest } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';
import { quantile } from '../support/statistics.ts';

const sizeBytes = Number(process.argv[2]);
const metadata = process.argv[3] ?? '';
const segmentName = process.argv[4] ?? '';
const remoteAddress = Number(process.argv[5]);
const transport = process.argv[6] === 'local' ? 'local' : 'tcp';

const region = allocate(sizeBytes);
region.view().fill(2);
const localAddress = Number(region.address);
const engines = new Map<number, TransferEngine>();

async function engineWith(connectionsPerPeer: number): Promise<TransferEngine> {
  const known = engines.get(connectionsPerPeer);
  if (known !== undefined) return known;
  const segmentName = `127.0.0.1:${process.pid}-${connectionsPerPeer}`;
  const engine = await TransferEngine.open({ metadata, segmentName, connectionsPerPeer, transports: [transport] });
  await engine.registerLocalMemory(localAddress, sizeBytes, '*', { remoteAccess: 'none' });
  engines.set(connectionsPerPeer, engine);
  return engine;
}

function checkBytes(lengthBytes: number): void {
  const isRight = region.view(0, 1)[0] === 1 && region.view(lengthBytes - 1, 1)[0] === 1;
  if (!isRight) throw new Error('the bytes are not those of the server');
}

async function read(connections: number, lengthBytes: number, batchSize: number): Promise<object> {
  const engine = await engineWith(connections);
  const segment = await engine.openSegment(segmentName);
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  for (let offset = 0; offset < sizeBytes; ) {
    const requests: TransferRequest[] = [];
    for (; offset < sizeBytes && requests.length < batchSize; offset += lengthBytes) {
      const [local, remote] = [localAddress + offset, remoteAddress + offset];
      requests.push({ opcode: 'read', segment, localAddress: local, remoteAddress: remote, lengthBytes });
    }
    await engine.submitTransfer(requests).done;
  }
  const seconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  checkBytes(sizeBytes);
  return { seconds, cpuSeconds: (user + system) / 1e6 };
}

async function latency(count: number, lengthBytes: number): Promise<object> {
  const engine = await engineWith(4);
  const segment = await engine.openSegment(segmentName);
  const microseconds: number[] = [];
  for (let index = 0; index < count; index++) {
    const startMs = performance.now();
    await engine.submitTransfer([{ opcode: 'read', segment, localAddress, remoteAddress, lengthBytes }]).done;
    microseconds.push((performance.now() - startMs) * 1000);
  }
  checkBytes(lengthBytes);
  return { p50: quantile(microseconds, 0.5), p99: quantile(microseconds, 0.99) };
}

announce({ ready: true });
await answerLines(async ([command, ...numbers]) => {
  const [first = 0, second = 0, third = 1] = numbers.map(Number);
  return command === 'latency' ? latency(first, second) : read(first, second, third);
});
for (const engine of engines.values()) await engine.close();
await region.close();
