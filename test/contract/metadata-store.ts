import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import type { Entry, MetadataStore, Write } from '../../src/metadata/metadata-store.ts';
import { eventually } from '../support/eventually.ts';
import { WatchRecorder } from '../support/watch-recorder.ts';

/** What the suite needs of an implementation. */
export interface MetadataStoreHarness extends AsyncDisposable {
  /** Opens one more store on the same data. */
  open(): Promise<MetadataStore>;
  /** Makes the implementation forget the history of changes. */
  compact(): Promise<void>;
  /** A lease short enough for a test to wait for its end. */
  readonly leaseTtlMs: number;
}

export function put(key: string, text: string, leaseId?: string): Write {
  return { kind: 'put', key, value: Buffer.from(text), ...(leaseId !== undefined && { leaseId }) };
}

export function textOf(entry: Entry | undefined): string | undefined {
  return entry && Buffer.from(entry.value).toString();
}

/** Runs what the contract in `metadata-store.ts` promises. */
export function describeMetadataStore(name: string, start: () => Promise<MetadataStoreHarness>): void {
  describe(name, () => {
    let harness: MetadataStoreHarness;
    let store: MetadataStore;
    let scopes = 0;
    const newScope = (): string => `scope-${++scopes}/`;

    beforeAll(async () => {
      harness = await start();
      store = await harness.open();
    });
    afterAll(async () => {
      await store?.close();
      await harness?.[Symbol.asyncDispose]();
    });

    describe('get() and list()', () => {
      test('get() returns undefined for an absent key and the entry with its revision for a present one', async () => {
        const key = `${newScope()}key`;
        expect(await store.get(key)).toBeUndefined();
        const { revision } = await store.commit([], [put(key, 'value')]);
        const entry = await store.get(key);
        expect(textOf(entry)).toBe('value');
        expect(entry).toMatchObject({ key, revision });
      });

      test('list() returns the keys of a prefix, and no others, in byte order', async () => {
        const scope = newScope();
        // UTF-16 order would put U+1F600 before U+FF5E.
        const keys = ['a', 'a/b', 'a0', 'b', '～', '😀'].map((key) => `${scope}in/${key}`);
        await store.commit(
          [],
          [...keys, `${scope}in`, `${scope}in0`, `${scope}im/x`].map((key) => put(key, key)),
        );
        const { entries, revision } = await store.list(`${scope}in/`);
        expect(entries.map(({ key }) => key)).toEqual(keys);
        expect(entries.map(textOf)).toEqual(keys);
        expect(revision).toBeGreaterThanOrEqual(entries[0]?.revision ?? 0n);
        const everything = await store.list('');
        expect(everything.entries.map(({ key }) => key)).toEqual(expect.arrayContaining(keys));
      });

      test('list() with keysOnly leaves the values out', async () => {
        const scope = newScope();
        const { revision } = await store.commit([], [put(`${scope}key`, 'value')]);
        const { entries } = await store.list(scope, { keysOnly: true });
        expect(entries).toMatchObject([{ key: `${scope}key`, revision }]);
        expect(entries[0]?.value).toHaveLength(0);
      });

      test('list() with a limit gives the first ones', async () => {
        const scope = newScope();
        const keys = ['a', 'b', 'c'].map((key) => scope + key);
        await store.commit(
          [],
          keys.map((key) => put(key, 'value')),
        );
        const listed = async (limit: number) => (await store.list(scope, { limit })).entries.map(({ key }) => key);
        expect(await listed(2)).toEqual(keys.slice(0, 2));
        expect(await listed(3)).toEqual(keys);
        expect(await listed(4)).toEqual(keys);
      });

      test('list() returns thousands of keys once each', async () => {
        const scope = newScope();
        const keys = Array.from({ length: 2500 }, (_, index) => `${scope}${index.toString().padStart(5, '0')}`);
        for (let start = 0; start < keys.length; start += 125) {
          await store.commit(
            [],
            keys.slice(start, start + 125).map((key) => put(key, 'x')),
          );
        }
        const { entries } = await store.list(scope);
        expect(entries.map(({ key }) => key)).toEqual(keys);
        expect((await store.list(scope, { limit: 1500 })).entries.map(({ key }) => key)).toEqual(keys.slice(0, 1500));
      });
    });

    describe('commit()', () => {
      test('applies every write when all conditions hold, with one revision', async () => {
        const scope = newScope();
        const first = await store.commit([{ kind: 'prefix-empty', prefix: scope }], [put(`${scope}a`, '1')]);
        expect(first.succeeded).toBe(true);
        const second = await store.commit(
          [
            { kind: 'unchanged', key: `${scope}a`, revision: first.revision },
            { kind: 'absent', key: `${scope}b` },
          ],
          [put(`${scope}b`, '2'), put(`${scope}c`, '3'), { kind: 'delete', key: `${scope}a` }],
        );
        expect(second).toEqual({ succeeded: true, revision: first.revision + 1n });
        const { entries } = await store.list(scope);
        expect(entries.map((entry) => [entry.key, textOf(entry), entry.revision])).toEqual([
          [`${scope}b`, '2', second.revision],
          [`${scope}c`, '3', second.revision],
        ]);
      });

      test.each(['unchanged', 'unchanged and gone', 'absent', 'prefix-empty'])(
        'applies nothing when the condition "%s" fails among others that hold',
        async (kind) => {
          const scope = newScope();
          const { revision } = await store.commit([], [put(`${scope}a`, '1')]);
          const failing = {
            unchanged: { kind: 'unchanged', key: `${scope}a`, revision: revision - 1n },
            'unchanged and gone': { kind: 'unchanged', key: `${scope}none`, revision },
            absent: { kind: 'absent', key: `${scope}a` },
            'prefix-empty': { kind: 'prefix-empty', prefix: scope },
          } as const;
          const outcome = await store.commit(
            [{ kind: 'absent', key: `${scope}b` }, failing[kind as keyof typeof failing]],
            [put(`${scope}b`, '2')],
          );
          expect(outcome).toEqual({ succeeded: false, revision });
          expect(await store.get(`${scope}b`)).toBeUndefined();
        },
      );

      test('counts no revision when nothing changes', async () => {
        const scope = newScope();
        const { revision } = await store.commit([], [put(`${scope}a`, '1')]);
        const outcome = await store.commit([], [{ kind: 'delete', key: `${scope}none` }]);
        expect(outcome).toEqual({ succeeded: true, revision });
      });

      test('lets exactly one of many racing writers win each revision', async () => {
        const key = `${newScope()}counter`;
        await using other = await harness.open();
        await store.commit([], [put(key, '0')]);
        const increment = async (via: MetadataStore): Promise<void> => {
          for (;;) {
            const entry = await via.get(key);
            const revision = entry?.revision ?? 0n;
            const next = put(key, String(Number(textOf(entry)) + 1));
            if ((await via.commit([{ kind: 'unchanged', key, revision }], [next])).succeeded) return;
          }
        };
        await Promise.all(Array.from({ length: 20 }, (_, index) => increment(index % 2 === 0 ? store : other)));
        expect(textOf(await store.get(key))).toBe('20');
      });

      test.each([
        ['an empty key', [put('', 'x')], ErrorCode.InvalidArgument],
        ['a key of 1,537 bytes', [put('k'.repeat(1537), 'x')], ErrorCode.InvalidArgument],
        ['a key with a lone surrogate', [put('\ud800', 'x')], ErrorCode.InvalidArgument],
        ['a key written twice', [put('twice', 'x'), put('twice', 'y')], ErrorCode.InvalidArgument],
        ['129 writes', Array.from({ length: 129 }, (_, n) => put(`many/${n}`, 'x')), ErrorCode.InvalidArgument],
        ['a malformed lease', [put('key', 'x', 'lease')], ErrorCode.InvalidArgument],
        ['more than 1,500,000 bytes', [put('large', 'x'.repeat(1_500_000))], ErrorCode.RecordTooLarge],
      ] as const)('rejects %s', async (_what, writes, code) => {
        await expect(store.commit([], writes)).rejects.toMatchObject({ code });
      });

      test('takes the longest key and the largest commit', async () => {
        const scope = newScope();
        const key = scope.padEnd(1536, 'k');
        const value = 'x'.repeat(1_500_000 - key.length);
        const lease = await store.grantLease(60_000);
        expect((await store.commit([], [put(key, value, lease)])).succeeded).toBe(true);
        expect(textOf(await store.get(key))).toBe(value);
        await store.revokeLease(lease);
        expect((await store.list(scope)).entries).toEqual([]);
      });
    });

    describe('leases', () => {
      test('keys vanish for readers and watchers when their lease runs out', async () => {
        const scope = newScope();
        const recorder = new WatchRecorder();
        const { revision } = await store.commit([], [put(`${scope}stays`, 'x')]);
        await using _watch = await store.watch(scope, recorder.from(revision + 1n));
        const lease = await store.grantLease(harness.leaseTtlMs);
        await store.commit([], [put(`${scope}a`, 'x', lease), put(`${scope}b`, 'x', lease)]);
        await eventually('the keys vanish', async () => (await store.list(scope)).entries.length === 1);
        await eventually('the watch tells', () => recorder.lines.length === 4);
        expect(recorder.lines.slice(2).sort()).toEqual([`delete ${scope}a`, `delete ${scope}b`]);
        expect(await store.get(`${scope}a`)).toBeUndefined();
        expect((await store.commit([{ kind: 'absent', key: `${scope}a` }], [])).succeeded).toBe(true);
        expect(await store.keepLeaseAlive(lease)).toBe(0);
      });

      test('keepLeaseAlive() holds the keys past the lease time', async () => {
        const key = `${newScope()}kept`;
        const lease = await store.grantLease(harness.leaseTtlMs);
        await store.commit([], [put(key, 'x', lease)]);
        const endsAtMs = performance.now() + harness.leaseTtlMs * 1.6;
        await eventually('time to pass', async () => {
          expect(await store.keepLeaseAlive(lease)).toBeGreaterThan(0);
          expect(await store.get(key)).toBeDefined();
          return performance.now() > endsAtMs;
        });
        await store.revokeLease(lease);
      });

      test('revokeLease() deletes its keys at once, and may be called again', async () => {
        const scope = newScope();
        const lease = await store.grantLease(60_000);
        await store.commit([], [put(`${scope}a`, 'x', lease), put(`${scope}b`, 'x')]);
        await store.revokeLease(lease);
        expect((await store.list(scope)).entries.map(({ key }) => key)).toEqual([`${scope}b`]);
        await store.revokeLease(lease);
        expect(await store.keepLeaseAlive(lease)).toBe(0);
      });

      test('a put without the lease, or with another, detaches the key', async () => {
        const scope = newScope();
        const [first, second] = [await store.grantLease(60_000), await store.grantLease(60_000)];
        expect(first).not.toBe(second);
        await store.commit(
          [],
          ['a', 'b', 'c'].map((key) => put(scope + key, 'x', first)),
        );
        await store.commit([], [put(`${scope}a`, 'y'), put(`${scope}b`, 'y', second)]);
        await store.revokeLease(first);
        expect((await store.list(scope)).entries.map(({ key }) => key)).toEqual([`${scope}a`, `${scope}b`]);
        await store.revokeLease(second);
        expect((await store.list(scope)).entries.map(({ key }) => key)).toEqual([`${scope}a`]);
      });

      test('commit() rejects with P2P_LEASE_LOST for a lease that ended, and writes nothing', async () => {
        const scope = newScope();
        const leaseId = await store.grantLease(60_000);
        await store.revokeLease(leaseId);
        const writes = [put(`${scope}a`, 'x'), put(`${scope}b`, 'x', leaseId)];
        await expect(store.commit([], writes)).rejects.toMatchObject({
          code: ErrorCode.LeaseLost,
          context: { leaseId },
        });
        expect((await store.list(scope)).entries).toEqual([]);
        const failing = [{ kind: 'unchanged', key: `${scope}a`, revision: 1n }] as const;
        expect((await store.commit(failing, writes)).succeeded).toBe(false);
      });

      test.each([0, -1, Number.NaN, 10 ** 12])('grantLease(%s) is refused', async (ttlMs) => {
        await expect(store.grantLease(ttlMs)).rejects.toMatchObject({ code: ErrorCode.InvalidArgument });
      });
    });

    describe('watch()', () => {
      test('tells what happened since a revision and goes on, in order, without gaps or repeats', async () => {
        const scope = newScope();
        const recorder = new WatchRecorder();
        const { revision } = await store.list(scope);
        await store.commit([], [put(`${scope}a`, '1'), put(`${scope}b`, '1')]);
        await store.commit([], [put('elsewhere', 'x')]);
        await using _watch = await store.watch(scope, recorder.from(revision + 1n));
        await eventually('the past', () => recorder.lines.length === 2);
        await using other = await harness.open();
        const last = await other.commit([], [{ kind: 'delete', key: `${scope}a` }, put(`${scope}b`, '2')]);
        await eventually('the present', () => recorder.lines.length === 4);
        expect(recorder.lines.slice(0, 2).sort()).toEqual([`put ${scope}a`, `put ${scope}b`]);
        expect(recorder.lines.slice(2).sort()).toEqual([`delete ${scope}a`, `put ${scope}b`]);
        const puts = recorder.events.flatMap((event) => (event.kind === 'put' ? [event.entry] : []));
        expect(puts.map(textOf)).toEqual(['1', '1', '2']);
        expect(puts.at(-1)?.revision).toBe(last.revision);
        expect(recorder.resets).toEqual([]);
      });

      test('starts with a reset when the history it asks for is gone', async () => {
        const scope = newScope();
        const recorder = new WatchRecorder();
        const before = await store.commit([], [put(`${scope}a`, '1'), put(`${scope}b`, '1')]);
        await store.commit([], [{ kind: 'delete', key: `${scope}a` }]);
        await store.commit([], [put(`${scope}c`, '1')]);
        await harness.compact();
        await using _watch = await store.watch(scope, recorder.from(before.revision));
        await eventually('the reset', () => recorder.resets.length === 1);
        expect(recorder.resets[0]?.entries.map(({ key }) => key)).toEqual([`${scope}b`, `${scope}c`]);
        const next = await store.commit([], [put(`${scope}d`, '1')]);
        await eventually('the next event', () => recorder.lines.length === 1);
        expect(recorder.events).toMatchObject([{ entry: { key: `${scope}d`, revision: next.revision } }]);
        expect(recorder.resets[0]?.revision).toBeLessThan(next.revision);
      });

      test('tells nothing after close()', async () => {
        const scope = newScope();
        const [closed, open] = [new WatchRecorder(), new WatchRecorder()];
        const { revision } = await store.list(scope);
        const watch = await store.watch(scope, closed.from(revision + 1n));
        await using _open = await store.watch(scope, open.from(revision + 1n));
        await watch.close();
        await watch.close();
        await store.commit([], [put(`${scope}a`, '1')]);
        await eventually('the other watch', () => open.lines.length === 1);
        expect(closed.lines).toEqual([]);
      });

      test('refuses revision 0, which is before the first', async () => {
        await expect(store.watch('x', new WatchRecorder().from(0n))).rejects.toMatchObject({
          code: ErrorCode.InvalidArgument,
        });
      });
    });

    describe('signals and close()', () => {
      test('calls reject with the reason of a signal that has fired, and change nothing', async () => {
        const key = `${newScope()}aborted`;
        const reason = new Error('stop');
        const signal = AbortSignal.abort(reason);
        await expect(store.commit([], [put(key, 'x')], { signal })).rejects.toBe(reason);
        await expect(store.get(key, { signal })).rejects.toBe(reason);
        await expect(store.list(key, { signal })).rejects.toBe(reason);
        await expect(store.grantLease(1000, { signal })).rejects.toBe(reason);
        expect(await store.get(key)).toBeUndefined();
      });

      test('close() ends watches, may be called twice, and makes calls reject with P2P_CLOSED', async () => {
        const other = await harness.open();
        const recorder = new WatchRecorder();
        const scope = newScope();
        await other.watch(scope, recorder.from((await other.list(scope)).revision + 1n));
        await other.close();
        await other.close();
        await store.commit([], [put(`${scope}a`, 'x')]);
        const closed = { code: ErrorCode.Closed };
        await expect(other.get('x')).rejects.toMatchObject(closed);
        await expect(other.commit([], [])).rejects.toMatchObject(closed);
        await expect(other.keepLeaseAlive('1')).rejects.toMatchObject(closed);
        await expect(other.watch(scope, recorder.from(1n))).rejects.toMatchObject(closed);
        expect(recorder.lines).toEqual([]);
        expect(textOf(await store.get(`${scope}a`))).toBe('x');
      });
    });
  });
}
