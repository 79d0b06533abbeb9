import { describe, expect, test } from 'vitest';
import { EmbeddedMetadataStore } from '../../src/metadata/embedded/embedded-store.ts';
import { put, textOf } from '../contract/metadata-store.ts';
import { eventually } from '../support/eventually.ts';
import { startNodeChild } from '../support/node-child.ts';
import { makeTemporaryFolder } from '../support/temporary-folder.ts';
import { WatchRecorder } from '../support/watch-recorder.ts';

const OPEN = `
const [directory, name] = process.argv.slice(-2);
const { EmbeddedMetadataStore } = await dist('metadata/embedded/embedded-store.js');
const store = await EmbeddedMetadataStore.open(directory);
const put = (key, text, leaseId) => ({ kind: 'put', key, value: Buffer.from(text), ...(leaseId && { leaseId }) });
`;

const OWNER = `${OPEN}
const leaseId = await store.grantLease(Number(name));
await store.commit([], [put('owner/alive', 'x', leaseId)]);
console.log('listed');
setInterval(() => {}, 1000);
`;

/** Counts upwards by compare-and-swap, noting which revision it won. */
const RACER = `${OPEN}
console.log('ready');
while (!(await store.get('go'))) await new Promise((resolve) => setTimeout(resolve, 5));
for (let wins = 0; wins < 200; ) {
  const entry = await store.get('counter');
  const outcome = await store.commit(
    [{ kind: 'unchanged', key: 'counter', revision: entry.revision }],
    [put('counter', String(Number(Buffer.from(entry.value)) + 1)), put('won/' + entry.revision + '/' + name, 'x')],
  );
  if (outcome.succeeded) wins += 1;
}
console.log('done');
setInterval(() => {}, 1000);
`;

/** Keeps two records equal, with a value too large for one page, until it is killed. */
const WRITER = `${OPEN}
const lease = await store.grantLease(60000);
for (let count = 0; ; count += 1) {
  const text = String(count).repeat(2000);
  await store.commit([], [put('pair/a', text), put('pair/b', text), put('leased/' + (count % 50), text, lease)]);
  if (count === 100) console.log('writing');
}
`;

describe('EmbeddedMetadataStore', () => {
  test('the records of a killed process vanish long before its lease, for readers and watchers', async () => {
    await using folder = await makeTemporaryFolder();
    await using store = await EmbeddedMetadataStore.open(folder.path);
    await using owner = startNodeChild(OWNER, [folder.path, '3600000']);
    const recorder = new WatchRecorder();
    await using _watch = await store.watch('owner/', recorder.from(1n));
    await owner.line('listed');
    expect(await store.get('owner/alive')).toBeDefined();
    await owner.kill();
    await eventually('the record to vanish', async () => (await store.get('owner/alive')) === undefined);
    await eventually('the watch to tell', () => recorder.lines.length === 2);
    expect(recorder.lines).toEqual(['put owner/alive', 'delete owner/alive']);
    expect((await store.list('owner/')).entries).toEqual([]);
  });

  test('the records of a paused process vanish when its lease runs out', async () => {
    await using folder = await makeTemporaryFolder();
    await using store = await EmbeddedMetadataStore.open(folder.path);
    await using owner = startNodeChild(OWNER, [folder.path, '1000']);
    await owner.line('listed');
    owner.freeze();
    await eventually('the record to vanish', async () => (await store.get('owner/alive')) === undefined);
  });

  test('of two processes that race for each revision exactly one wins', async () => {
    await using folder = await makeTemporaryFolder();
    await using store = await EmbeddedMetadataStore.open(folder.path);
    await store.commit([], [put('counter', '0')]);
    await using first = startNodeChild(RACER, [folder.path, 'first']);
    await using second = startNodeChild(RACER, [folder.path, 'second']);
    await Promise.all([first.line('ready'), second.line('ready')]);
    await store.commit([], [put('go', 'x')]);
    await Promise.all([first.line('done'), second.line('done')]);
    expect(textOf(await store.get('counter'))).toBe('400');
    const { entries } = await store.list('won/');
    expect(new Set(entries.map(({ key }) => key.split('/')[1])).size).toBe(400);
    expect(entries).toHaveLength(400);
  });

  test('is whole after a process was killed in the middle of writing, again and again', async () => {
    await using folder = await makeTemporaryFolder();
    for (let round = 0; round < 3; round += 1) {
      const writer = startNodeChild(WRITER, [folder.path, 'writer']);
      await writer.line('writing');
      await writer.kill();
      await using store = await EmbeddedMetadataStore.open(folder.path);
      const [a, b] = [await store.get('pair/a'), await store.get('pair/b')];
      expect(a?.value.length).toBeGreaterThan(0);
      expect(textOf(a)).toBe(textOf(b));
      expect(a?.revision).toBe(b?.revision);
      await eventually(
        'the killed writer to be noticed',
        async () => (await store.list('leased/')).entries.length === 0,
      );
      expect((await store.commit([], [put('after', String(round))])).succeeded).toBe(true);
    }
  });
});
