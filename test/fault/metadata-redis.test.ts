import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { LeaseKeeper } from '../../src/metadata/lease-keeper.ts';
import type { MetadataStore } from '../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { put, textOf } from '../contract/metadata-store.ts';
import { outcomeOf } from '../support/engines.ts';
import { findFreePorts } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { WatchRecorder } from '../support/watch-recorder.ts';

describe('RedisMetadataStore', () => {
  let server: RedisServer;
  let store: MetadataStore;

  beforeEach(async () => {
    server = await startRedis();
    store = await openMetadataStore(server.uri);
  });
  afterEach(async () => {
    await store.close();
    await server[Symbol.asyncDispose]();
  });

  test('after a restart that lost everything, watches start over and lease holders list themselves anew', async () => {
    await using keeper = await LeaseKeeper.open(store, { ttlMs: 1000 });
    const list = async (): Promise<void> => {
      await keeper.withLease((leaseId) => store.commit([], [put('live/a', 'x', leaseId)]));
    };
    keeper.onRegained(list);
    await list();
    const before = await store.commit([], [put('live/lost', 'x')]);
    const recorder = new WatchRecorder();
    await using _watch = await store.watch('live/', recorder.from(before.revision + 1n));
    await server.kill();
    await server.start();
    await eventually('the record to come back', async () => (await store.get('live/a')) !== undefined);
    await eventually('the watch to know', () => recorder.resets.length === 1 || recorder.lines.length > 0);
    expect(recorder.resets).toHaveLength(1);
    expect(await store.get('live/lost')).toBeUndefined();
    // Revisions of before are never given again, so that no old one passes for a new one.
    expect((await store.commit([], [put('live/b', 'x')])).revision).toBeGreaterThan(before.revision);
    await eventually('the watch to go on', () => recorder.lines.includes('put live/b'));
  });

  test('calls wait for a server that comes back soon', async () => {
    await store.commit([], [put('key', 'x')]);
    await server.kill();
    const committing = store.commit([{ kind: 'absent', key: 'key' }], [put('key', 'y')]);
    await server.start();
    expect((await committing).succeeded).toBe(true);
    expect(textOf(await store.get('key'))).toBe('y');
  });

  test('calls end by their deadline while the server is frozen, and work when it wakes', async () => {
    server.freeze();
    const startedMs = performance.now();
    expect(await outcomeOf(store.get('key'))).toBe(ErrorCode.MetadataUnavailable);
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    server.thaw();
    await eventually('an answer', () => store.commit([], [put('key', 'x')]).catch(() => undefined));
    expect(textOf(await store.get('key'))).toBe('x');
  });

  test('open() rejects with P2P_METADATA_UNAVAILABLE when nobody listens', async () => {
    const [port] = await findFreePorts(1);
    expect(await outcomeOf(openMetadataStore(`redis://127.0.0.1:${port}`))).toBe(ErrorCode.MetadataUnavailable);
  });
});
