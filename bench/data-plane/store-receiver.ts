/** Pulls the object into touched memory: `pull VERIFY` answers with seconds and serves it until `delete`. */
import { allocate, P2PStore } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = Number(process.argv[2]);
const metadata = process.argv[3] ?? '';

const region = allocate(sizeBytes);
region.view().fill(2);
const words = new Uint32Array(region.view().buffer, 0, sizeBytes / 4);
const store = await P2PStore.open(metadata, `127.0.0.1:${process.pid}`, undefined, { transports: ['tcp'] });
announce({ ready: true });

await answerLines(async ([command, verify]) => {
  if (command === 'delete') {
    await store.deleteReplica('object');
    return {};
  }
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const options = verify === 'none' ? ({ verify: 'none' } as const) : {};
  const { sources } = await store.getReplica('object', [region], [sizeBytes], options);
  const seconds = (performance.now() - startMs) / 1000;
  const used = process.cpuUsage(cpu);
  return {
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    peakBytes: process.resourceUsage().maxRSS * 1024,
    goldBytes: sources.reduce((sum, { role, bytes }) => sum + (role === 'gold' ? bytes : 0), 0),
    first: words[0],
    last: words.at(-1),
  };
});
await store.close();
await region.close();
