import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../src/core/errors.ts';
import { InMemoryMetadataStore } from '../../../src/metadata/in-memory/in-memory-store.ts';
import { LeaseKeeper } from '../../../src/metadata/lease-keeper.ts';
import { put } from '../../contract/metadata-store.ts';
import { FakeClock, settle } from '../../support/fake-clock.ts';

const TTL_MS = 9000;

/** A store that can be away, on time that the test moves. */
class FlakyStore extends InMemoryMetadataStore {
  isAway = false;
  keepAlives = 0;

  override async keepLeaseAlive(leaseId: string): Promise<number> {
    this.keepAlives += 1;
    this.#requirePresence();
    return super.keepLeaseAlive(leaseId);
  }

  override async grantLease(ttlMs: number): Promise<string> {
    this.#requirePresence();
    return super.grantLease(ttlMs);
  }

  #requirePresence(): void {
    if (!this.isAway) return;
    throw new P2PStoreError(ErrorCode.MetadataUnavailable, 'Cannot use the store: it is away', { uri: this.uri });
  }
}

async function openKeeper() {
  const clock = new FakeClock();
  const store = new FlakyStore(`memory:${randomUUID()}`, clock);
  const keeper = await LeaseKeeper.open(store, { ttlMs: TTL_MS, clock });
  return { clock, store, keeper };
}

describe('LeaseKeeper', () => {
  test('renews every third of the lease time, so that it never ends', async () => {
    const { clock, store, keeper } = await openKeeper();
    const { leaseId } = keeper;
    await store.commit([], [put('key', 'x', leaseId)]);
    await clock.advance(TTL_MS * 10);
    expect(store.keepAlives).toBe(30);
    expect(keeper.leaseId).toBe(leaseId);
    expect(await store.get('key')).toBeDefined();
    await keeper.close();
  });

  test('goes on trying while the store is away, and keeps the lease if it comes back in time', async () => {
    const { clock, store, keeper } = await openKeeper();
    const { leaseId } = keeper;
    store.isAway = true;
    await clock.advance(TTL_MS * 0.8);
    expect(store.keepAlives).toBeGreaterThan(2);
    store.isAway = false;
    await clock.advance(TTL_MS * 5);
    expect(keeper.leaseId).toBe(leaseId);
    await keeper.close();
  });

  test('grants a new lease when the old one ended, and calls each listener once with it', async () => {
    const { clock, store, keeper } = await openKeeper();
    const first = keeper.leaseId;
    const calls: string[] = [];
    keeper.onRegained(async (leaseId) => void calls.push(`a ${leaseId}`));
    const remove = keeper.onRegained(async () => void calls.push('removed'));
    keeper.onRegained(async (leaseId) => void calls.push(`b ${leaseId}`));
    remove();
    clock.jump(TTL_MS + 1); // the process was paused
    await clock.advance(TTL_MS);
    expect(keeper.leaseId).not.toBe(first);
    expect(calls).toEqual([`a ${keeper.leaseId}`, `b ${keeper.leaseId}`]);
    expect(await store.keepLeaseAlive(keeper.leaseId)).toBe(TTL_MS);
    await keeper.close();
  });

  test('calls a listener that throws again, never twice at a time, and renews meanwhile', async () => {
    const { clock, keeper } = await openKeeper();
    let running = 0;
    let calls = 0;
    let release = (): void => {};
    keeper.onRegained(async () => {
      calls += 1;
      running += 1;
      expect(running).toBe(1);
      if (calls === 3) await new Promise<void>((resolve) => (release = resolve));
      running -= 1;
      if (calls < 3) throw new Error('not yet');
    });
    clock.jump(TTL_MS + 1);
    await clock.advance(TTL_MS * 3);
    expect(calls).toBe(3);
    const { leaseId } = keeper;
    await clock.advance(TTL_MS * 3); // the third call still runs
    expect(keeper.leaseId).toBe(leaseId);
    release();
    await clock.advance(TTL_MS * 3);
    expect(calls).toBe(3);
    await keeper.close();
  });

  test('calls the listeners anew when the lease is lost again while they run', async () => {
    const { clock, keeper } = await openKeeper();
    const seen: string[] = [];
    let release = (): void => {};
    keeper.onRegained(async (leaseId) => {
      seen.push(leaseId);
      if (seen.length === 1) await new Promise<void>((resolve) => (release = resolve));
    });
    clock.jump(TTL_MS + 1);
    await clock.advance(TTL_MS / 2);
    clock.jump(TTL_MS + 1);
    await clock.advance(TTL_MS / 2);
    expect(seen).toHaveLength(1);
    release();
    await settle();
    expect(seen).toHaveLength(2);
    expect(seen[1]).toBe(keeper.leaseId);
    await keeper.close();
  });

  describe('withLease()', () => {
    test('runs the write again with the new lease when the old one was lost', async () => {
      const { store, keeper } = await openKeeper();
      const first = keeper.leaseId;
      await store.revokeLease(first);
      const used: string[] = [];
      const outcome = await keeper.withLease((leaseId) => {
        used.push(leaseId);
        return store.commit([], [put('key', 'x', leaseId)]);
      });
      expect(outcome.succeeded).toBe(true);
      expect(used).toEqual([first, keeper.leaseId]);
      await keeper.close();
    });

    test('may be used by a listener', async () => {
      const { clock, store, keeper } = await openKeeper();
      keeper.onRegained(async () => {
        await keeper.withLease((leaseId) => store.commit([], [put('key', leaseId, leaseId)]));
      });
      clock.jump(TTL_MS + 1);
      await clock.advance(TTL_MS);
      expect(await store.get('key')).toBeDefined();
      await keeper.close();
    });

    test('passes other errors on, waits no longer than the signal allows, and gives up after a second loss', async () => {
      const { store, keeper } = await openKeeper();
      const other = new Error('other');
      await expect(keeper.withLease(() => Promise.reject(other))).rejects.toBe(other);
      await store.revokeLease(keeper.leaseId);
      store.isAway = true;
      const abort = new AbortController();
      const write = keeper.withLease((leaseId) => store.commit([], [put('key', 'x', leaseId)]), {
        signal: abort.signal,
      });
      await settle();
      abort.abort(other);
      await expect(write).rejects.toBe(other);
      store.isAway = false;
      let calls = 0;
      const losing = keeper.withLease(async (leaseId) => {
        calls += 1;
        await store.revokeLease(leaseId);
        return store.commit([], [put('key', 'x', leaseId)]);
      });
      await expect(losing).rejects.toMatchObject({ code: ErrorCode.LeaseLost });
      expect(calls).toBe(2);
      await keeper.close();
    });
  });

  test('close() revokes the lease, leaves no timer, ends waiting writes and may be called twice', async () => {
    const { clock, store, keeper } = await openKeeper();
    await store.commit([], [put('key', 'x', keeper.leaseId)]);
    store.isAway = true;
    const waiting = keeper.withLease(async (leaseId) => {
      throw new P2PStoreError(ErrorCode.LeaseLost, 'Cannot write: lost', { leaseId });
    });
    const ended = expect(waiting).rejects.toMatchObject({ code: ErrorCode.Closed });
    await settle();
    await Promise.all([keeper.close(), keeper.close()]);
    await ended;
    expect(await store.get('key')).toBeUndefined();
    expect(clock.pendingTimers).toBe(0);
    await expect(keeper.withLease(async () => {})).rejects.toMatchObject({ code: ErrorCode.Closed });
  });

  test('open() rejects when no lease can be granted', async () => {
    const store = new FlakyStore(`memory:${randomUUID()}`, new FakeClock());
    store.isAway = true;
    await expect(LeaseKeeper.open(store)).rejects.toMatchObject({ code: ErrorCode.MetadataUnavailable });
  });
});
