/**
 * What Mooncake's `transfer_engine_bench` does with one thread, with our engine: one batch of READs after the other, each of
 * the same blocks of the target's first buffer, into memory that nobody touched before. Arguments: bytes of memory, metadata
 * URI, segment, bytes of a block, blocks of a batch, connections, seconds. Prints GB/s.
 */
import { allocate, TransferEngine } from '../../src/index.ts';
import { announce } from '../support/child.ts';

const [sizeBytes = 0, metadata = '', segmentName = '', ...rest] = process.argv.slice(2);
const [blockBytes = 0, batchSize = 0, connectionsPerPeer = 1, seconds = 1] = rest.map(Number);

const region = allocate(Number(sizeBytes));
const engine = await TransferEngine.open({
  metadata,
  segmentName: 'our-initiator',
  host: '127.0.0.1',
  connectionsPerPeer,
  transports: ['tcp'],
});
await engine.registerLocalMemory(region.address, region.sizeBytes, '*', { remoteAccess: 'none' });
const segment = await engine.openSegment(segmentName);
const start = segment.buffers[0]?.address ?? 0;
const requests = Array.from({ length: batchSize }, (_, index) => ({
  opcode: 'read' as const,
  segment,
  localAddress: region.address + BigInt(index * blockBytes),
  remoteAddress: start + index * blockBytes,
  lengthBytes: blockBytes,
}));
const startMs = performance.now();
const endMs = startMs + seconds * 1000;
let batches = 0;
for (; performance.now() < endMs; batches++) await engine.submitTransfer(requests).done;
const elapsedSeconds = (performance.now() - startMs) / 1000;
announce({ rate: (batches * batchSize * blockBytes) / 1e9 / elapsedSeconds });
await engine.close();
await region.close();
