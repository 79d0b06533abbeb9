/** Serves one buffer by RDMA until its input ends. */
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { allocate } from '../../src/memory/memory-region.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = 64 * 1024 * 1024;
const engine = await TransferEngine.open({
  metadata: 'P2PHANDSHAKE', // so that no store runs beside what is measured
  segmentName: '127.0.0.1',
  host: '127.0.0.1',
  transports: ['rdma'],
  ioWorkers: 1,
  nicPriorityMatrix: { '*': [['rxe0'], []] },
});
const region = allocate(sizeBytes);
region.view().fill(0x5a);
await engine.registerLocalMemory(region.address, sizeBytes);
announce({ segment: engine.segmentName, address: String(region.address), sizeBytes });
await answerLines(() => Promise.resolve({}));
await engine.close();
await region.close();
