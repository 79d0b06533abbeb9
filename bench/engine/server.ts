/** Serves BYTES of touched memory over every transport there is; answers each line with its CPU seconds. */
import { allocate, TransferEngine } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = Number(process.argv[2]);
const metadata = process.argv[3] ?? '';

const region = allocate(sizeBytes);
region.view().fill(1);
const engine = await TransferEngine.open({ metadata, segmentName: `127.0.0.1:${process.pid}` });
await engine.registerLocalMemory(region.address, sizeBytes);
announce({ segment: engine.segmentName, address: String(region.address) });

await answerLines(async () => {
  const { user, system } = process.cpuUsage();
  return { cpuSeconds: (user + system) / 1e6 };
});
await engine.close();
await region.close();
