/** Registers one object of BYTES and serves it. The round that warms up ends after its digests are known. */
import { allocate, P2PStore } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const sizeBytes = Number(process.argv[2]);
const metadata = process.argv[3] ?? '';
const MIB = 1024 * 1024;

const region = allocate(sizeBytes);
const words = new Uint32Array(region.view().buffer, 0, sizeBytes / 4);
for (let index = 0, x = 1; index < words.length; index++) {
  x = (x * 1_664_525 + 1_013_904_223) >>> 0;
  words[index] = x;
}
const store = await P2PStore.open(metadata, `127.0.0.1:${process.pid}`, undefined, { transports: ['tcp'] });
await store.register('object', [region], [sizeBytes], 64 * MIB, '*');
announce({ first: words[0], last: words.at(-1) });

await answerLines(async () => {
  const { user, system } = process.cpuUsage();
  return { cpuSeconds: (user + system) / 1e6, peakBytes: process.resourceUsage().maxRSS * 1024 };
});
await store.close();
await region.close();
