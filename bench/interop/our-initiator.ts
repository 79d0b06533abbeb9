/**
 * What Mooncake's `transfer_engine_bench` does with one thread, with our engine: one batch of READs after the other, each of
 * the same blocks of the target's first buffer. `SEGMENT BLOCK_BYTES BATCH_SIZE CONNECTIONS SECONDS` answers with GB/s.
 */
import { allocate, TransferEngine } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const [sizeBytes, metadata] = [Number(process.argv[2]), process.argv[3] ?? ''];
const region = allocate(sizeBytes);
region.view().fill(2);
const engines = new Map<string, TransferEngine>();

async function engineWith(connections: string): Promise<TransferEngine> {
  const known = engines.get(connections);
  if (known !== undefined) return known;
  const engine = await TransferEngine.open({
    metadata,
    segmentName: `initiator-${connections}`,
    host: '127.0.0.1',
    connectionsPerPeer: Number(connections),
    transports: ['tcp'],
  });
  await engine.registerLocalMemory(region.address, sizeBytes, '*', { remoteAccess: 'none' });
  engines.set(connections, engine);
  return engine;
}

announce({ ready: true });
await answerLines(async ([segmentName = '', blockBytes, batchSize, connections = '1', seconds]) => {
  const engine = await engineWith(connections);
  const segment = await engine.openSegment(segmentName, { refresh: true });
  const start = segment.buffers[0]?.address ?? 0;
  const requests = Array.from({ length: Number(batchSize) }, (_, index) => ({
    opcode: 'read' as const,
    segment,
    localAddress: region.address + BigInt(index * Number(blockBytes)),
    remoteAddress: start + index * Number(blockBytes),
    lengthBytes: Number(blockBytes),
  }));
  const startMs = performance.now();
  const endMs = startMs + Number(seconds) * 1000;
  let batches = 0;
  for (; performance.now() < endMs; batches++) await engine.submitTransfer(requests).done;
  const elapsedSeconds = (performance.now() - startMs) / 1000;
  return { rate: (batches * Number(batchSize) * Number(blockBytes)) / 1e9 / elapsedSeconds };
});
for (const engine of engines.values()) await engine.close();
await region.close();
