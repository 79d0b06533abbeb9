import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import type { ObjectStatus } from '../../../src/store/status.ts';
import { fillBytes, MIB, SHARD, TestStores } from '../../support/test-store.ts';

/** Reads on until a status is as wanted. */
async function until(
  statuses: AsyncGenerator<ObjectStatus, void>,
  isWanted: (status: ObjectStatus) => boolean,
): Promise<ObjectStatus> {
  for (let count = 0; count < 100; count += 1) {
    const { value } = await statuses.next();
    if (value === undefined) throw new Error('The watch has ended');
    if (isWanted(value)) return value;
  }
  throw new Error('No status was as wanted');
}

const segments = ({ sources }: ObjectStatus): string[] => sources.map(({ segment }) => segment);

describe('watchStatus', () => {
  test('shows sources that come and go, who took from whom, and another object of the name', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(2 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*');
    const statuses = c.watchStatus('x', { intervalMs: 100 });
    expect(segments(await until(statuses, () => true))).toEqual(['A']);

    await b.getReplica('x', [Buffer.alloc(data.length)], [data.length]);
    const both = await until(statuses, (status) =>
      status.sources.some(({ isComplete, role }) => isComplete && role === 'replica'),
    );
    expect(both).toMatchObject({ name: 'x', totalSize: data.length, goldBytes: data.length, sourcesNotAsked: 0 });
    expect(both.sources).toMatchObject([
      { segment: 'A', role: 'gold', verifiedBytes: data.length, sources: [] },
      { segment: 'B', verifiedBytes: data.length, sources: [{ segment: 'A', role: 'gold', bytes: data.length }] },
    ]);

    await a.unregister('x');
    await until(statuses, (status) => segments(status).join() === 'B');
    await b.deleteReplica('x');
    await until(statuses, (status) => segments(status).length === 0);
    await b.register('x', [data], [MIB], SHARD, '*');
    const anew = await until(statuses, (status) => segments(status).length > 0);
    expect(anew).toMatchObject({ totalSize: MIB, sources: [{ segment: 'B', role: 'gold' }] });
    await statuses.return();
  });

  test('ends with the signal, with the store, and at once when there is no such object', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    await expect(a.watchStatus('x').next()).rejects.toMatchObject({ code: ErrorCode.ObjectNotFound });
    expect(() => a.watchStatus('x', { intervalMs: 1 })).toThrow(
      expect.objectContaining({ code: ErrorCode.InvalidArgument }),
    );
    const data = fillBytes(10);
    await a.register('x', [data], [data.length], SHARD, '*');
    const stop = new AbortController();
    const stopped = b.watchStatus('x', { signal: stop.signal, intervalMs: 3_600_000 });
    await stopped.next();
    const next = stopped.next();
    stop.abort(new Error('enough'));
    await expect(next).rejects.toThrow('enough');
    const closed = b.watchStatus('x', { intervalMs: 3_600_000 });
    await closed.next();
    const last = closed.next();
    await b.close();
    expect(await last).toEqual({ done: true, value: undefined });
  });
});
