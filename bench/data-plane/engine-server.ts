/** Serves BYTES of touched memory to the benchmark; `busy` blocks its main thread 900 ms of every second. */
import { allocate, TransferEngine } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = Number(process.argv[2]);
const metadata = process.argv[3] ?? '';

const region = allocate(sizeBytes);
region.view().fill(1);
const engine = await TransferEngine.open({ metadata, segmentName: `127.0.0.1:${process.pid}`, transports: ['tcp'] });
await engine.registerLocalMemory(region.address, sizeBytes);
announce({ segment: engine.segmentName, address: String(region.address) });

let busyTimer: NodeJS.Timeout | undefined;
function blockMainThread(): void {
  const endMs = performance.now() + 900;
  while (performance.now() < endMs);
}

await answerLines(async ([command]) => {
  if (command === 'busy') busyTimer ??= setInterval(blockMainThread, 1000);
  if (command === 'idle') {
    clearInterval(busyTimer);
    busyTimer = undefined;
  }
  const { user, system } = process.cpuUsage();
  return { cpuSeconds: (user + system) / 1e6, peakBytes: process.resourceUsage().maxRSS * 1024 };
});
clearInterval(busyTimer);
await engine.close();
await region.close();
