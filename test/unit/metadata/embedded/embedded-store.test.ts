import { randomUUID } from 'node:crypto';
import { readdir, utimes, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EmbeddedMetadataStore } from '../../../../src/metadata/embedded/embedded-store.ts';
import { InMemoryMetadataStore } from '../../../../src/metadata/in-memory/in-memory-store.ts';
import type { Condition, Entry, MetadataStore, Write } from '../../../../src/metadata/metadata-store.ts';
import { put } from '../../../contract/metadata-store.ts';
import { eventually } from '../../../support/eventually.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { makeTemporaryFolder } from '../../../support/temporary-folder.ts';
import { WatchRecorder } from '../../../support/watch-recorder.ts';

const key = fc.constantFrom('a', 'a/1', 'a/2', 'a0', 'b', 'é', '😀', '～');
const prefix = fc.constantFrom('', 'a', 'a/', 'b', 'é', 'x');
const lease = fc.option(fc.nat(3), { nil: undefined });
const write = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 20 }), lease }),
  fc.record({ kind: fc.constant('delete' as const), key }),
);
const condition = fc.oneof(
  fc.record({ kind: fc.constant('unchanged' as const), key, age: fc.nat(2) }),
  fc.record({ kind: fc.constant('absent' as const), key }),
  fc.record({ kind: fc.constant('prefix-empty' as const), prefix }),
);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      conditions: fc.array(condition, { maxLength: 2 }),
      writes: fc.uniqueArray(write, { maxLength: 4, selector: (each) => each.key }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('list' as const), prefix }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('grant' as const), ttlMs: fc.integer({ min: 1, max: 300 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('renew' as const), lease: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('revoke' as const), lease: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 0, max: 200 }) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const show = ({ key: name, value, revision }: Entry): string =>
  `${name}@${revision}=${Buffer.from(value).toString('hex')}`;

/** Carries one step out; returns what it told, in a form that can be compared. */
async function perform(store: MetadataStore, leases: string[], taken: Step): Promise<unknown> {
  const leaseAt = (index: number): string => leases[index % leases.length] ?? '999';
  switch (taken.kind) {
    case 'commit': {
      const entries = new Map((await store.list('')).entries.map((entry) => [entry.key, entry]));
      const conditions = taken.conditions.map(
        (each): Condition =>
          each.kind === 'unchanged'
            ? { kind: 'unchanged', key: each.key, revision: (entries.get(each.key)?.revision ?? 0n) - BigInt(each.age) }
            : each,
      );
      const writes = taken.writes.map(
        (each): Write =>
          each.kind === 'put' && each.lease !== undefined ? { ...each, leaseId: leaseAt(each.lease) } : each,
      );
      return store.commit(conditions, writes).catch((error: { code: string }) => error.code);
    }
    case 'list':
      return (await store.list(taken.prefix)).entries.map(show);
    case 'grant':
      leases.push(await store.grantLease(taken.ttlMs));
      return leases.length;
    case 'renew':
      return store.keepLeaseAlive(leaseAt(taken.lease));
    case 'revoke':
      return store.revokeLease(leaseAt(taken.lease));
    case 'time':
      return undefined;
  }
}

describe('EmbeddedMetadataStore', () => {
  test('tells the same as the in-memory store after any sequence of steps', async () => {
    await using folder = await makeTemporaryFolder();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const clock = new FakeClock();
        await using memory = new InMemoryMetadataStore(`memory:${randomUUID()}`, clock);
        await using embedded = await EmbeddedMetadataStore.open(folder.file(randomUUID()), { clock });
        const leases: [string[], string[]] = [[], []];
        for (const ttlMs of [50, 150, 1000]) {
          leases[0].push(await memory.grantLease(ttlMs));
          leases[1].push(await embedded.grantLease(ttlMs));
        }
        for (const taken of steps) {
          if (taken.kind === 'time') clock.jump(taken.ms);
          expect(await perform(embedded, leases[1], taken)).toEqual(await perform(memory, leases[0], taken));
        }
        // An empty commit has both remove what ended: from there on the revisions are equal too.
        expect(await embedded.commit([], [])).toEqual(await memory.commit([], []));
        expect((await embedded.list('')).entries.map(show)).toEqual((await memory.list('')).entries.map(show));
      }),
      { numRuns: 60 },
    );
  });

  test('a watch hears of a lease that runs out with nobody writing', async () => {
    await using folder = await makeTemporaryFolder();
    const clock = new FakeClock();
    await using store = await EmbeddedMetadataStore.open(folder.path, { clock });
    const recorder = new WatchRecorder();
    const { revision } = await store.commit([], [put('key', 'x', await store.grantLease(5000))]);
    await using _watch = await store.watch('key', recorder.from(revision + 1n));
    await clock.advance(4900);
    expect(recorder.lines).toEqual([]);
    await clock.advance(300);
    expect(recorder.lines).toEqual(['delete key']);
  });

  test('forgets the oldest changes beyond its bound, and resets a watch that asks for them', async () => {
    await using folder = await makeTemporaryFolder();
    await using store = await EmbeddedMetadataStore.open(folder.path);
    const first = await store.commit([], [put('key/0', 'x')]);
    for (let round = 0; round < 90; round += 1) {
      await store.commit(
        [],
        Array.from({ length: 120 }, (_, index) => put(`key/${index}`, String(round))),
      );
    }
    const recorder = new WatchRecorder();
    await using _watch = await store.watch('key/0', recorder.from(first.revision));
    await eventually('the reset', () => recorder.resets.length === 1);
    expect(recorder.resets[0]?.entries.map(({ key: name }) => name)).toEqual(['key/0']);
    const late = new WatchRecorder();
    await using _late = await store.watch('key/', late.from(first.revision + 20n));
    await eventually('the events', () => late.events.length > 0);
    expect(late.events.length).toBe(120 * 71);
  });

  test('two stores of one process share the directory; closing one leaves the other open', async () => {
    await using folder = await makeTemporaryFolder();
    await using first = await EmbeddedMetadataStore.open(folder.path);
    const second = await EmbeddedMetadataStore.open(folder.path);
    await second.commit([], [put('key', 'x')]);
    await second.close();
    expect(await first.get('key')).toBeDefined();
    await first.close();
    await using third = await EmbeddedMetadataStore.open(folder.path);
    expect(await third.get('key')).toBeDefined();
  });
});

describe('EmbeddedMetadataStore after a reboot', () => {
  test('starts empty and removes the files of older boots, but not those in use', async () => {
    await using folder = await makeTemporaryFolder();
    const longAgo = new Date('2020-01-01');
    for (const name of ['metadata-v1-old.mdb', 'metadata-v1-old.mdb-lock', 'notes.mdb']) {
      await writeFile(folder.file(name), 'x');
      await utimes(folder.file(name), longAgo, longAgo);
    }
    await writeFile(folder.file('metadata-v1-in-use.mdb'), 'x');
    await using store = await EmbeddedMetadataStore.open(folder.path);
    expect((await store.list('')).entries).toEqual([]);
    const names = await readdir(folder.path);
    expect(names.filter((name) => name.includes('old'))).toEqual([]);
    expect(names).toEqual(expect.arrayContaining(['metadata-v1-in-use.mdb', 'notes.mdb']));
  });
});
