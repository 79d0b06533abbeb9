import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import type { MetadataStore } from '../../../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../../../src/metadata/open-metadata-store.ts';
import { describeMetadataStore, put, textOf } from '../../../contract/metadata-store.ts';
import { CAPTURED_REDIS_RECORDS } from '../../../support/captured-frames.ts';
import { openEngine, outcomeOf } from '../../../support/engines.ts';
import { eventually } from '../../../support/eventually.ts';
import { type RedisServer, startRedis } from '../../../support/redis.ts';
import { WatchRecorder } from '../../../support/watch-recorder.ts';

describeMetadataStore('RedisMetadataStore', async () => {
  const server = await startRedis();
  return {
    open: () => openMetadataStore(server.uri),
    async compact() {
      const revision = /\d{6,}/.exec(await server.command('HGET', 'p2pstore:meta:state', 'revision'))?.[0] ?? '';
      await server.command('DEL', 'p2pstore:meta:history');
      await server.command('HSET', 'p2pstore:meta:state', 'compacted', revision, 'events', '0', 'bytes', '0');
    },
    leaseTtlMs: 1000,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});

describe('RedisMetadataStore beside other programs', () => {
  let server: RedisServer;
  let store: MetadataStore;

  beforeAll(async () => {
    server = await startRedis();
    store = await openMetadataStore(server.uri);
  });
  afterAll(async () => {
    await store?.close();
    await server?.[Symbol.asyncDispose]();
  });

  test('values are plain strings under their keys', async () => {
    await store.commit([], [put('mooncake/ram/ours', '{"a":1}\n')]);
    expect(await server.command('GET', 'mooncake/ram/ours')).toBe('$8\r\n{"a":1}\n\r\n');
  });

  test('what another program sets is read, compared, and told to watches when it is noticed', async () => {
    const recorder = new WatchRecorder();
    await using _watch = await store.watch('mooncake/', recorder.from((await store.list('')).revision + 1n));
    await server.command('SET', 'mooncake/ram/theirs', 'first');
    const first = await store.get('mooncake/ram/theirs');
    expect(textOf(first)).toBe('first');
    expect(await store.get('mooncake/ram/theirs')).toEqual(first);
    await server.command('SET', 'mooncake/ram/theirs', 'second');
    const unchanged = { kind: 'unchanged', key: 'mooncake/ram/theirs', revision: first?.revision ?? 0n } as const;
    expect((await store.commit([unchanged], [put('mooncake/ram/theirs', 'ours')])).succeeded).toBe(false);
    expect(textOf(await store.get('mooncake/ram/theirs'))).toBe('second');
    await server.command('DEL', 'mooncake/ram/theirs');
    expect(await store.get('mooncake/ram/theirs')).toBeUndefined();
    await eventually('the watch tells', () => recorder.lines.length === 3);
    const key = 'mooncake/ram/theirs';
    expect(recorder.lines).toEqual([`put ${key}`, `put ${key}`, `delete ${key}`]);
  });

  test('a key on a lease vanishes for other programs too, when nobody of ours is left', async () => {
    const lonely = await startRedis();
    const dying = await openMetadataStore(lonely.uri);
    const lease = await dying.grantLease(1500);
    await dying.commit([], [put('mooncake/ram/dying', 'x', lease)]);
    await dying.close();
    await eventually(
      'the key to expire',
      async () => (await lonely.command('EXISTS', 'mooncake/ram/dying')) === ':0\r\n',
    );
    await lonely[Symbol.asyncDispose]();
  });

  test('an engine finds what a real engine left there', async () => {
    const { name, descriptor, location } = CAPTURED_REDIS_RECORDS;
    await server.command('SET', `mooncake/ram/${name}`, descriptor);
    await server.command('SET', `mooncake/rpc_meta/${name}`, location);
    await using engine = await openEngine({ metadata: server.uri });
    expect(await engine.openSegment(name)).toMatchObject({
      host: '127.0.0.1',
      port: 15_204,
      rpcPort: 16_861,
      buffers: [{ address: 140_676_555_325_440, lengthBytes: 65_536 }],
    });
    // And others find ours, by a plain GET.
    const ours = await server.command('GET', `mooncake/ram/${engine.segmentName}`);
    expect(ours).toContain(`"tcp_data_port":${engine.dataPort},"tcp_proto_version":2`);
  });

  test('refuses keys of its own records', async () => {
    expect(await outcomeOf(store.commit([], [put('p2pstore:meta:state', 'x')]))).toBe(ErrorCode.InvalidArgument);
  });
});

test('a password is needed where the server wants one, and never shown', async () => {
  await using server = await startRedis({ password: 'secret' });
  await using store = await openMetadataStore(server.uri);
  expect(store.uri).toBe(`redis://127.0.0.1:${server.port}`);
  await store.commit([], [put('key', 'x')]);
  for (const credentials of ['', ':wrong@']) {
    const uri = `redis://${credentials}127.0.0.1:${server.port}`;
    expect(await outcomeOf(openMetadataStore(uri))).toBe(ErrorCode.MetadataDenied);
  }
});
