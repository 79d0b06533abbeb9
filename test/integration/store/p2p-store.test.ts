import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { allocate, countOpenRegions } from '../../../src/memory/memory-region.ts';
import { P2PStore } from '../../../src/store/p2p-store.ts';
import { type EtcdCluster, startEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { startPublisher } from '../../support/publisher.ts';
import { type RedisServer, startRedis } from '../../support/redis.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';
import { expectSameBytes, fillBytes, freshMemoryUri, MIB, SHARD, TestStores } from '../../support/test-store.ts';

let etcd: EtcdCluster;
let redis: RedisServer;
let folder: TemporaryFolder;

beforeAll(async () => {
  [etcd, redis] = await Promise.all([startEtcd(), startRedis()]);
  folder = await makeTemporaryFolder();
});

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const code = (value: string): object => expect.objectContaining({ code: value });

describe.each([
  ['memory:', () => freshMemoryUri()],
  ['local:', () => `local:${folder.file('metadata')}`],
  ['etcd:', () => etcd.uri],
  ['redis:', () => redis.uri],
])('P2PStore over %s', (_kind, uri) => {
  test('brings the bytes from one store to others, which serve them on', async () => {
    await using stores = new TestStores(uri());
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(5 * MIB + 3);
    await a.register('models/x', [data], [data.length], SHARD, '*');
    expect(await b.list('models/')).toEqual([
      { name: 'models/x', maxShardSize: SHARD, totalSize: data.length, sizeList: [data.length] },
    ]);

    const atB = Buffer.alloc(data.length);
    const result = await b.getReplica('models/x', [atB], [atB.length]);
    expectSameBytes(atB, data);
    expect(result).toMatchObject({ name: 'models/x', bytes: data.length, verified: 'xxh64' });
    expect(result.sources.map(({ segment }) => segment)).toEqual(['A']);
    const isListed = async (): Promise<boolean> => (await c.sources('models/x')).every(({ isComplete }) => isComplete);
    await eventually('the replica to be listed as complete', isListed);
    expect(await c.sources('models/x')).toMatchObject([
      { segment: 'A', role: 'gold' },
      { segment: 'B', role: 'replica' },
    ]);

    await a.unregister('models/x');
    data.fill(0);
    const atC = Buffer.alloc(data.length);
    await c.getReplica('models/x', [atC], [atC.length]);
    expectSameBytes(atC, atB);

    await b.deleteReplica('models/x');
    await c.deleteReplica('models/x');
    expect(await c.list('')).toEqual([]);
  });

  test('close() leaves no record', async () => {
    const stores = new TestStores(uri());
    {
      await using scope = stores;
      const [a, b] = [await scope.open('A'), await scope.open('B')];
      const data = fillBytes(MIB);
      await a.register('x', [data], [MIB], SHARD, '*');
      await b.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    }
    expect(await stores.keys()).toEqual([]);
  });
});

describe('register', () => {
  test('checks everything before anything is touched', async () => {
    await using stores = new TestStores();
    const store = await stores.open('A');
    const before = await stores.keys();
    const data = fillBytes(4_096);
    const refuse = async (code_: string, ...args: Parameters<typeof store.register>): Promise<void> => {
      await expect(store.register(...args)).rejects.toEqual(code(code_));
    };
    const { InvalidArgument, AddressOverlapped } = ErrorCode;
    for (const name of ['', '\0', 'a\nb', '\ud800', 'x'.repeat(513)]) {
      await refuse(InvalidArgument, name, [data], [1], SHARD, '*');
    }
    for (const shard of [0, -1, 3, 1.5, Number.NaN, 2 ** 33]) {
      await refuse(InvalidArgument, 'x', [data], [1], shard, '*');
    }
    await refuse(InvalidArgument, 'x', [data], [1], SHARD, 'gpu:7');
    await refuse(InvalidArgument, 'x', [data], [], SHARD, '*');
    await refuse(InvalidArgument, 'x', [data], [4_097], SHARD, '*');
    await refuse(InvalidArgument, 'x', [data], [-1], SHARD, '*');
    await refuse(InvalidArgument, 'x', [0n], [8], SHARD, '*');
    await refuse(AddressOverlapped, 'x', [data, data.subarray(8)], [16, 16], SHARD, '*');
    await refuse(InvalidArgument, 'x', [data], [1], SHARD, '*', { verify: 'md5' as 'xxh64' });
    const region = allocate(3 * 2 ** 20);
    await refuse(InvalidArgument, 'x', [region], [region.sizeBytes], 1, '*');
    await region.close();
    await refuse(InvalidArgument, 'x', Array(16_385).fill(data), Array(16_385).fill(0), SHARD, '*');
    expect(await stores.keys()).toEqual(before);
    await store.register('x', [data], [4_096], SHARD, '*');
  });

  test('takes any name that is a name', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const names = ['a', 'a/', 'a/b', '../x', '%2F', '~0', 'é'.repeat(256), '模型 🚀'];
    const objects = names.map((name) => ({ name, bytes: fillBytes(64) }));
    for (const { name, bytes } of objects) await a.register(name, [bytes], [64], SHARD, '*');
    expect((await b.list('')).map(({ name }) => name)).toEqual(names.toSorted());
    expect((await b.list('a/')).map(({ name }) => name)).toEqual(['a/', 'a/b']);
    for (const { name, bytes } of objects) {
      const target = Buffer.alloc(64);
      await b.getReplica(name, [target], [64]);
      expectSameBytes(target, bytes);
    }
  });

  test('is refused under a name that this store uses, and one that is live elsewhere', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4_096);
    await a.register('x', [data], [64], SHARD, '*');
    await expect(a.register('x', [data], [64], SHARD, '*')).rejects.toEqual(code(ErrorCode.PayloadOpened));
    await expect(b.register('x', [data], [64], SHARD, '*')).rejects.toEqual(code(ErrorCode.ObjectExists));
    await b.getReplica('x', [data.subarray(1_024)], [64]);
    await expect(b.register('x', [data], [64], SHARD, '*')).rejects.toEqual(code(ErrorCode.PayloadOpened));
    expect(await b.sources('x')).toHaveLength(2);
  });

  test('from many stores at once under one name has exactly one winner and leaves no litter', async () => {
    await using stores = new TestStores();
    const all = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const calls = [...all, ...all].map((store, index) => ({ store, bytes: fillBytes(64), name: `y${index}` }));
    const results = await Promise.allSettled(
      calls.map(({ store, bytes }) => store.register('x', [bytes], [64], SHARD, '*')),
    );
    const winners = calls.filter((_call, index) => results[index]?.status === 'fulfilled');
    expect(winners).toHaveLength(1);
    expect(await stores.keys('p2pstore/')).toHaveLength(2);
    for (const winner of winners) {
      const target = Buffer.alloc(64);
      const loser = all.find((store) => store !== winner.store);
      await loser?.getReplica('x', [target], [64]);
      expectSameBytes(target, winner.bytes);
      await winner.store.unregister('x');
      await loser?.deleteReplica('x');
    }
    for (const { store, bytes, name } of calls) await store.register(name, [bytes], [64], SHARD, '*'); // all memory is free
  });

  test('takes the same memory under two names, and lets go of it with the second', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4_096);
    await a.register('x', [data], [4_096], SHARD, '*');
    await a.register('y', [data], [4_096], SHARD, '*');
    await expect(a.register('z', [data], [100], SHARD, '*')).rejects.toEqual(code(ErrorCode.AddressOverlapped));
    await a.unregister('x');
    const target = Buffer.alloc(4_096);
    await b.getReplica('y', [target], [4_096]);
    expectSameBytes(target, data);
    await a.unregister('y');
    await a.register('z', [data], [100], SHARD, '*');
  });

  test('by force takes the name from another store', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const [old, fresh] = [fillBytes(4_096), fillBytes(8_192)];
    await a.register('x', [old], [4_096], SHARD, '*');
    await b.register('x', [fresh], [8_192], SHARD, '*', { force: true });
    expect((await c.sources('x')).map(({ segment }) => segment)).toEqual(['B']);
    const target = Buffer.alloc(8_192);
    await c.getReplica('x', [target], [8_192]);
    expectSameBytes(target, fresh);
    await a.unregister('x');
    expect((await c.sources('x')).map(({ segment }) => segment)).toEqual(['B', 'C']);
  });

  test('publishes objects without bytes', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    await a.register('none', [], [], SHARD, '*');
    await a.register('empty', [Buffer.alloc(8)], [0], SHARD, '*', { verify: 'blake3' });
    expect(await b.list('')).toMatchObject([{ totalSize: 0 }, { totalSize: 0 }]);
    expect(await b.getReplica('none', [], [])).toMatchObject({ bytes: 0 });
    expect(await b.getReplica('empty', [], [])).toMatchObject({ bytes: 0, verified: 'blake3' });
    expect(await b.sources('empty')).toHaveLength(2);
  });
});

describe('getReplica', () => {
  test('maps bytes by logical offset, however either side splits them', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(3 * MIB + 17);
    const cut = (sizes: readonly number[]): [Buffer[], number[]] => [
      sizes.map((size) => Buffer.alloc(size + 3)),
      [...sizes],
    ];
    const [from, fromSizes] = cut([1, 0, MIB, 7, 2 * MIB + 9]);
    let at = 0;
    for (const [index, size] of fromSizes.entries()) at += data.copy(from[index] ?? data, 0, at, at + size);
    await a.register('x', from, fromSizes, 4_096, '*');
    const [to, toSizes] = cut([2 * MIB, 4_099, MIB - 4_096 + 14]);
    await b.getReplica('x', to, toSizes);
    expectSameBytes(Buffer.concat(to.map((buffer, index) => buffer.subarray(0, toSizes[index]))), data);
    for (const [index, buffer] of to.entries()) expect([...buffer.subarray(toSizes[index])]).toEqual([0, 0, 0]);
  });

  test('is refused before memory is touched', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4_096);
    await a.register('x', [data], [4_096], SHARD, '*', { verify: 'blake3' });
    const before = await stores.keys();
    const target = Buffer.alloc(4_097, 7);
    await expect(b.getReplica('y', [target], [64])).rejects.toEqual(code(ErrorCode.ObjectNotFound));
    await expect(b.getReplica('x', [target], [4_097])).rejects.toMatchObject({
      code: ErrorCode.SizeMismatch,
      context: { name: 'x', expectedBytes: 4_096, actualBytes: 4_097 },
    });
    await expect(b.getReplica('x', [target], [4_096], { verify: 'xxh64' })).rejects.toEqual(
      code(ErrorCode.InvalidArgument),
    );
    await expect(b.getReplica('x', [target, target], [2_048, 2_048])).rejects.toEqual(
      code(ErrorCode.AddressOverlapped),
    );
    await expect(a.getReplica('x', [target], [4_096])).rejects.toEqual(code(ErrorCode.PayloadOpened));
    await expect(b.getReplica('x', [target], [4_096], { signal: AbortSignal.abort('no') })).rejects.toBe('no');
    expect(target.every((byte) => byte === 7)).toBe(true);
    expect(await stores.keys()).toEqual(before);
    expect(await b.getReplica('x', [target], [4_096], { verify: 'none' })).toMatchObject({ verified: 'none' });
    await expect(b.getReplica('x', [target], [4_096])).rejects.toEqual(code(ErrorCode.PayloadOpened));
  });

  test('leaves no stream open at the source when it cannot begin', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(4_096);
    await a.register('x', [data], [4_096], SHARD, '*');
    await expect(b.getReplica('x', [Buffer.alloc(1)], [1])).rejects.toEqual(code(ErrorCode.SizeMismatch));
    await c.getReplica('x', [Buffer.alloc(4_096)], [4_096]); // its own streams end a moment later
    await eventually('the last stream to end', async () => /^p2pstore_followers 0$/m.test(await a.metrics()));
  });

  test('may be repeated after deleteReplica, and refuses memory in use', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4_096);
    await a.register('x', [data], [4_096], SHARD, '*');
    await a.register('y', [data], [4_096], SHARD, '*');
    const target = Buffer.alloc(4_096);
    await b.getReplica('x', [target], [4_096]);
    await expect(b.getReplica('y', [target], [4_096])).rejects.toEqual(code(ErrorCode.AddressOverlapped));
    await b.deleteReplica('x');
    await b.getReplica('y', [target], [4_096]);
    await b.getReplica('x', [Buffer.alloc(4_096)], [4_096]);
    await expect(b.unregister('x')).rejects.toEqual(code(ErrorCode.PayloadNotOpened));
    await expect(a.deleteReplica('x')).rejects.toEqual(code(ErrorCode.PayloadNotOpened));
    await expect(b.deleteReplica('z')).rejects.toEqual(code(ErrorCode.PayloadNotOpened));
  });

  test('ends when somebody registers the name anew meanwhile', async () => {
    await using stores = new TestStores(etcd.uri);
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const source = { uri: etcd.uri, segment: 'paused', leaseTtlMs: 60_000, name: 'x', sizeBytes: MIB };
    await using child = await startPublisher(source);
    child.freeze();
    const pull = b.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    pull.catch(() => {});
    await eventually('the pull to be listed', async () => (await a.sources('x')).length === 2);
    await a.register('x', [fillBytes(64)], [64], SHARD, '*', { force: true });
    await expect(pull).rejects.toEqual(code(ErrorCode.ObjectSuperseded));
    expect((await a.sources('x')).map(({ segment }) => segment)).toEqual(['A']);
    await b.getReplica('x', [Buffer.alloc(64)], [64]);
  });

  test('reports progress up to the last byte', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(8 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*');
    const seen: number[] = [];
    await b.getReplica('x', [Buffer.alloc(data.length)], [data.length], {
      onProgress: ({ bytesDone, bytesTotal }) => {
        expect(bytesTotal).toBe(data.length);
        seen.push(bytesDone);
      },
    });
    expect(seen.at(-1)).toBe(data.length);
    expect(seen).toEqual(seen.toSorted((x, y) => x - y));
  });
});

describe('files', () => {
  test('go from disk to disk', async () => {
    await using stores = new TestStores();
    await using files = await makeTemporaryFolder();
    const fs = await import('node:fs/promises');
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(3 * MIB + 1);
    await fs.writeFile(files.file('in'), data);
    await fs.writeFile(files.file('empty'), '');
    await a.registerFile('f', files.file('in'));
    await a.registerFile('e', files.file('empty'));
    expect(await b.getReplicaToFile('f', files.file('out'))).toMatchObject({ bytes: data.length });
    await b.getReplicaToFile('e', files.file('out-empty'));
    expectSameBytes(await fs.readFile(files.file('out')), data);
    expect((await fs.stat(files.file('out-empty'))).size).toBe(0);

    await a.unregister('f');
    const again = Buffer.alloc(data.length);
    const c = await stores.open('C');
    await c.getReplica('f', [again], [again.length]);
    expectSameBytes(again, data);
    await b.deleteReplica('f');
    expectSameBytes(await fs.readFile(files.file('out')), data);
  });

  test('a failed pull leaves no file, no mapping and the old file as it was', async () => {
    await using stores = new TestStores();
    await using files = await makeTemporaryFolder();
    const fs = await import('node:fs/promises');
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const regions = countOpenRegions();
    await fs.writeFile(files.file('out'), 'old');
    await expect(a.registerFile('f', files.file('missing'))).rejects.toEqual(code(ErrorCode.FileFailed));
    await expect(b.getReplicaToFile('f', files.file('out'))).rejects.toEqual(code(ErrorCode.ObjectNotFound));
    const data = fillBytes(4_096);
    await a.register('f', [data], [4_096], SHARD, '*');
    await expect(a.getReplicaToFile('f', files.file('out'))).rejects.toEqual(code(ErrorCode.PayloadOpened));
    await expect(b.getReplicaToFile('f', files.file('no/such/folder'))).rejects.toEqual(code(ErrorCode.FileFailed));
    const cancel = new AbortController();
    const pull = b.getReplicaToFile('f', files.file('out'), { signal: cancel.signal });
    cancel.abort(new Error('enough'));
    await expect(pull).rejects.toThrow('enough');
    expect(await fs.readdir(files.path)).toEqual(['out']);
    expect(await fs.readFile(files.file('out'), 'utf8')).toBe('old');
    expect(countOpenRegions()).toBe(regions);
    await fs.writeFile(files.file('in'), 'in');
    await a.registerFile('g', files.file('in'));
    await expect(b.registerFile('g', files.file('in'))).rejects.toEqual(code(ErrorCode.ObjectExists));
    await a.unregister('g');
    expect(countOpenRegions()).toBe(regions);
  });
});

describe('status', () => {
  test('asks every source', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(2 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*', { pieceSize: MIB });
    await b.getReplica('x', [Buffer.alloc(data.length)], [data.length]);
    const source = { state: 'serving', pieces: 2, verifiedPieces: 2 };
    expect(await a.status('x')).toMatchObject({
      name: 'x',
      totalSize: data.length,
      verify: 'xxh64',
      sources: [
        { segment: 'A', role: 'gold', isComplete: true, ...source },
        { segment: 'B', role: 'replica', ...source },
      ],
    });
    await expect(a.status('y')).rejects.toEqual(code(ErrorCode.ObjectNotFound));
    expect(await a.sources('y')).toEqual([]);
  });
});

describe('watch', () => {
  test('tells what is there, what comes, changes and goes', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4_096);
    await a.register('m/1', [data], [1], SHARD, '*');
    await a.register('n/1', [data.subarray(1)], [1], SHARD, '*');
    const events = b.watch('m/');
    const next = async (): Promise<unknown> => {
      const { value } = await events.next();
      return value === undefined ? undefined : [value.kind, value.object.name, value.object.totalSize];
    };
    expect(await next()).toEqual(['added', 'm/1', 1]);
    await a.register('m/2', [data.subarray(2)], [2], SHARD, '*');
    expect(await next()).toEqual(['added', 'm/2', 2]);
    await b.register('m/2', [data.subarray(8)], [3], SHARD, '*', { force: true });
    expect(await next()).toEqual(['changed', 'm/2', 3]);
    await a.unregister('m/1');
    expect(await next()).toEqual(['removed', 'm/1', 1]);
    const last = events.next();
    await b.close();
    expect(await last).toEqual({ done: true, value: undefined });
  });

  test('ends with the signal', async () => {
    await using stores = new TestStores();
    const store = await stores.open('A');
    const cancel = new AbortController();
    const next = store.watch('', { signal: cancel.signal }).next();
    cancel.abort(new Error('enough'));
    await expect(next).rejects.toThrow('enough');
  });
});

describe('close', () => {
  test('is safe during anything and leaves nothing', async () => {
    const stores = new TestStores();
    const regions = countOpenRegions();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(16 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*');
    const target = Buffer.alloc(data.length);
    const pull = b.getReplica('x', [target], [target.length]);
    const others = [
      b.register('y', [fillBytes(64)], [64], SHARD, '*'),
      b.getReplicaToFile('x', '/tmp/never'),
      b.list(''),
      b.sources('x'),
      a.unregister('x'),
    ];
    const settled = Promise.allSettled([pull, ...others]);
    await Promise.all([b.close(), b.close(), a.close()]);
    await expect(pull).rejects.toEqual(code(ErrorCode.Closed));
    for (const result of await settled) {
      if (result.status === 'rejected' && result.reason?.code !== ErrorCode.PayloadOpened) {
        expect(result.reason).toEqual(code(ErrorCode.Closed));
      }
    }
    expect(await stores.keys()).toEqual([]);
    expect(countOpenRegions()).toBe(regions);
    await expect(a.list('')).rejects.toEqual(code(ErrorCode.Closed));
    expect(() => a.watch('')).toThrow('closed');
  });
});

describe('open', () => {
  test('refuses a segment name that a live store has, and bad options', async () => {
    await using stores = new TestStores();
    await stores.open('A');
    await expect(stores.open('A')).rejects.toEqual(code(ErrorCode.SegmentInUse));
    for (const options of [
      { leaseTtlMs: 1 },
      { digestWorkers: 0 },
      { ioWorkers: 0 },
      { peerPort: 65_536 },
      { dataPort: 7_001, peerPort: 7_001 },
    ]) {
      await expect(stores.open('B', options)).rejects.toEqual(code(ErrorCode.InvalidArgument));
    }
    await expect(stores.open('')).rejects.toEqual(code(ErrorCode.InvalidArgument));
    await expect(P2PStore.open(stores.uri, 'B', '{"cpu:0": 7}')).rejects.toEqual(code(ErrorCode.InvalidArgument));
    expect((await stores.keys()).filter((key) => key.includes('B'))).toEqual([]);
    await stores.open('B');
  });

  test('of a name whose store was closed succeeds at once', async () => {
    await using stores = new TestStores();
    const first = await stores.open('A');
    expect(first.localSegmentName).toBe('A');
    await first.close();
    await eventually('the name to be free', () => stores.open('A'));
  });
});
