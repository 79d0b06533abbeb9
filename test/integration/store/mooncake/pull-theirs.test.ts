/** Objects that a model of Mooncake's Go store registered, in a real etcd, pulled by stores of ours. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { openMetadataStore } from '../../../../src/metadata/open-metadata-store.ts';
import { deleteAllKeys, type EtcdCluster, startEtcd } from '../../../support/etcd.ts';
import { MooncakeStoreModel } from '../../../support/mooncake-store-model.ts';
import { expectSameBytes, fillBytes, MIB, recordingLogger, TestStores } from '../../../support/test-store.ts';

let etcd: EtcdCluster;

beforeAll(async () => {
  etcd = await startEtcd();
});

beforeEach(() => deleteAllKeys(etcd.uri));

afterAll(() => etcd[Symbol.asyncDispose]());

const code = (value: string): object => expect.objectContaining({ code: value });

async function putRecord(name: string, value: string): Promise<void> {
  await using metadata = await openMetadataStore(etcd.uri);
  await metadata.commit([], [{ kind: 'put', key: `mooncake/checkpoint/${name}`, value: Buffer.from(value) }]);
}

describe.each([1, 2] as const)('an object of a Mooncake store with framing %i', (framing) => {
  test('is listed and pulled, said to be unverified, and served on', async () => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:12345', { framing });
    const data = [fillBytes(3 * MIB + 5), fillBytes(MIB), fillBytes(7)];
    await theirs.register('foo/bar', data, MIB);
    const [b, c] = [await stores.open('B'), await stores.open('C')];
    const sizeList = data.map(({ length }) => length);
    const totalSize = sizeList.reduce((sum, size) => sum + size, 0);
    expect(await b.list('foo/')).toEqual([
      { name: 'foo/bar', maxShardSize: MIB, totalSize, sizeList, origin: 'mooncake' },
    ]);
    expect(await b.sources('foo/bar')).toEqual([
      { segment: '127.0.0.1:12345', role: 'gold', isComplete: true, peerEndpoint: '', origin: 'mooncake' },
    ]);

    const atB = Buffer.alloc(totalSize);
    const origins = new Set<unknown>();
    const result = await b.getReplica('foo/bar', [atB], [totalSize], {
      onProgress: ({ origin }) => origins.add(origin),
    });
    expectSameBytes(atB, Buffer.concat(data));
    expect(result).toMatchObject({ bytes: totalSize, verified: 'none', origin: 'mooncake' });
    expect(result.sources.map(({ segment }) => segment)).toEqual(['127.0.0.1:12345']);
    expect(origins).toEqual(new Set(['mooncake']));

    await theirs.unregister('foo/bar');
    await theirs.close();
    const atC = Buffer.alloc(totalSize);
    expect(await c.getReplica('foo/bar', [atC], [totalSize])).toMatchObject({ verified: 'none', origin: 'mooncake' });
    expectSameBytes(atC, atB);
  });

  test('is pulled by several at once, who serve each other', async () => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:12345', { framing });
    const data = fillBytes(8 * MIB);
    await theirs.register('x', [data], MIB);
    const receivers = await Promise.all(['B', 'C', 'D'].map((segment) => stores.open(segment)));
    await Promise.all(
      receivers.map(async (store) => {
        const target = Buffer.alloc(data.length);
        await store.getReplica('x', [target], [target.length]);
        expectSameBytes(target, data);
      }),
    );
  });
});

describe('a stale source', () => {
  test('that answers no more costs seconds', async () => {
    await using stores = new TestStores(etcd.uri);
    await using alive = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1001');
    const dead = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1002');
    const data = fillBytes(4 * MIB);
    await alive.register('x', [data], MIB);
    await dead.getReplica('x', [Buffer.alloc(data.length)]);
    await dead.crash();
    const store = await stores.open('B');
    const target = Buffer.alloc(data.length);
    await store.getReplica('x', [target], [target.length], { signal: AbortSignal.timeout(20_000) });
    expectSameBytes(target, data);
  });

  test('that was started anew with other memory is not believed', async () => {
    await using stores = new TestStores(etcd.uri);
    const before = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1003');
    await before.register('x', [fillBytes(MIB)], MIB);
    await before.crash();
    await using after = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1003');
    await after.register('y', [fillBytes(MIB)], MIB);
    const store = await stores.open('B');
    await expect(store.getReplica('x', [Buffer.alloc(MIB)], [MIB])).rejects.toThrow(code(ErrorCode.ObjectNotFound));
    await store.getReplica('y', [Buffer.alloc(MIB)], [MIB]);
  });

  test('alone fails the pull in seconds', async () => {
    await using stores = new TestStores(etcd.uri);
    const dead = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1004');
    await dead.register('x', [fillBytes(MIB)], MIB);
    await dead.crash();
    const store = await stores.open('B');
    await expect(
      store.getReplica('x', [Buffer.alloc(MIB)], [MIB], { signal: AbortSignal.timeout(40_000) }),
    ).rejects.toThrow(code(ErrorCode.NoSource));
    expect((await stores.keys('p2pstore/')).length).toBe(0);
  });

  test('that ended in good order is not listed', async () => {
    await using stores = new TestStores(etcd.uri);
    const gone = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1005');
    await gone.register('x', [fillBytes(MIB)], MIB);
    await gone.close();
    const store = await stores.open('B');
    expect(await store.list('')).toEqual([]);
    expect(await store.sources('x')).toEqual([]);
  });
});

describe('an object that is taken back while it is pulled', () => {
  test('ends the pull with an error', async () => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1006');
    const data = fillBytes(2 * MIB);
    await theirs.register('x', [data], MIB);
    const store = await stores.open('B', { maxDownloadBytesPerSecond: MIB });
    let isTakenBack: Promise<void> | undefined;
    const pull = store.getReplica('x', [Buffer.alloc(data.length)], [data.length], {
      onProgress: () => {
        isTakenBack ??= theirs.unregister('x');
      },
    });
    await expect(pull).rejects.toThrow(code(ErrorCode.NoSource));
    await isTakenBack;
  });
});

describe('a receiver', () => {
  test('whose memory is of another size is told so before anything is touched', async () => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1007');
    await theirs.register('x', [fillBytes(MIB)], MIB);
    const store = await stores.open('B');
    const target = Buffer.alloc(MIB + 1);
    await expect(store.getReplica('x', [target], [target.length])).rejects.toThrow(code(ErrorCode.SizeMismatch));
    await expect(store.getReplica('x', [target], [MIB], { verify: 'xxh64' })).rejects.toThrow(
      code(ErrorCode.InvalidArgument),
    );
    expect(target.every((byte) => byte === 0)).toBe(true);
  });
});

describe('a broken record', () => {
  const location = '[{"segment_name":"127.0.0.1:1008","offset":4096}]';
  const record = (fields: string): string => `{"name":"bad",${fields}}`;

  test.each([
    ['no JSON', '{'],
    ['of another type', '[]'],
    ['of null lists', record('"size":1,"size_list":null,"max_shard_size":1048576,"shards":null')],
    [
      'of no shard size',
      record(`"size":1,"size_list":[1],"max_shard_size":0,"shards":[{"size":1,"gold":${location}}]`),
    ],
    [
      'of shards beyond its size',
      record(`"size":1,"size_list":[1],"max_shard_size":1,"shards":[{"size":9,"gold":${location}}]`),
    ],
    [
      'of more bytes than there are',
      record(`"size":18446744073709551615,"size_list":[18446744073709551615],"max_shard_size":4294967296,"shards":[]`),
    ],
    [
      'of another name',
      `{"name":"good","size":1,"size_list":[1],"max_shard_size":1,"shards":[{"size":1,"gold":${location}}]}`,
    ],
  ])('%s is skipped in lists, and hurts nobody', async (_what, value) => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1008');
    await theirs.register('good', [fillBytes(100)], MIB);
    await putRecord('bad', value);
    await putRecord('with\u0000control', value);
    const logger = recordingLogger();
    const store = await stores.open('B', { logger });
    expect((await store.list('')).map(({ name }) => name)).toEqual(['good']);
    const outcome = await store.getReplica('bad', [Buffer.alloc(1)], [1]).catch((error: unknown) => error);
    expect([ErrorCode.RecordInvalid, ErrorCode.ObjectNotFound]).toContain((outcome as { code?: string }).code);
    expect(logger.lines.some(({ message }) => message === 'bad Mooncake record ignored')).toBe(true);
    expect(await store.sources('bad')).toEqual([]);
    await store.getReplica('good', [Buffer.alloc(100)], [100]);
  });

  test('of an object that a store of ours has pulled leaves that replica to others', async () => {
    await using stores = new TestStores(etcd.uri);
    await using theirs = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:1009');
    const data = fillBytes(MIB);
    await theirs.register('x', [data], MIB);
    const [b, c] = [await stores.open('B', { leaseTtlMs: 1_000 }), await stores.open('C')];
    await b.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    await putRecord('x', '{"name":7}');
    expect(await c.sources('x')).toMatchObject([{ segment: 'B' }]);
    const target = Buffer.alloc(MIB);
    await c.getReplica('x', [target], [MIB]);
    expectSameBytes(target, data);
    await b.deleteReplica('x');
    expect(await stores.keys('mooncake/checkpoint/')).toEqual(['mooncake/checkpoint/x']);
  });
});
