/** Serves one buffer by RDMA until its input ends. */
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { allocate } from '../../src/memory/memory-region.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = 64 * 1024 * 1024;
const metadata = `local:${mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'))}`;
const engine = await TransferEngine.open({
  metadata,
  segmentName: 'server',
  host: '127.0.0.1',
  transports: ['rdma'],
  ioWorkers: 1,
  nicPriorityMatrix: { '*': [['rxe0'], []] },
});
const region = allocate(sizeBytes);
region.view().fill(0x5a);
await engine.registerLocalMemory(region.address, sizeBytes);
announce({ segment: engine.segmentName, address: String(region.address), sizeBytes, metadata });
await answerLines(() => Promise.resolve({}));
await engine.close();
await region.close();
