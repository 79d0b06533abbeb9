/** READs BYTES from the server's segment: `read CONNECTIONS REQUEST_BYTES BATCH` answers with seconds. */
import { allocate, TransferEngine, type TransferRequest } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const [sizeBytes, metadata, segmentName, remoteAddress] = [
  Number(process.argv[2]),
  process.argv[3] ?? '',
  process.argv[4] ?? '',
  BigInt(process.argv[5] ?? 0),
];

const region = allocate(sizeBytes);
region.view().fill(2);
const engines = new Map<number, TransferEngine>();

async function engineWith(connectionsPerPeer: number): Promise<TransferEngine> {
  const known = engines.get(connectionsPerPeer);
  if (known !== undefined) return known;
  const engine = await TransferEngine.open({
    metadata,
    segmentName: `127.0.0.1:${process.pid}-${connectionsPerPeer}`,
    connectionsPerPeer,
    transports: ['tcp'],
  });
  await engine.registerLocalMemory(region.address, sizeBytes, '*', { remoteAccess: 'none' });
  engines.set(connectionsPerPeer, engine);
  return engine;
}

announce({ ready: true });
await answerLines(async ([, connections, requestBytes, batchSize]) => {
  const engine = await engineWith(Number(connections));
  const segment = await engine.openSegment(segmentName);
  const lengthBytes = Number(requestBytes);
  const requests: TransferRequest[] = [];
  for (let offset = 0; offset < sizeBytes; offset += lengthBytes) {
    requests.push({
      opcode: 'read',
      segment,
      localAddress: region.address + BigInt(offset),
      remoteAddress: remoteAddress + BigInt(offset),
      lengthBytes,
    });
  }
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const size = Number(batchSize ?? requests.length);
  for (let at = 0; at < requests.length; at += size) await engine.submitTransfer(requests.slice(at, at + size)).done;
  const seconds = (performance.now() - startMs) / 1000;
  const used = process.cpuUsage(cpu);
  return {
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    peakBytes: process.resourceUsage().maxRSS * 1024,
    isRight: region.view(0, 1)[0] === 1 && region.view(sizeBytes - 1, 1)[0] === 1,
  };
});
for (const engine of engines.values()) await engine.close();
await region.close();
