/** Objects of ours as a model of Mooncake's Go store finds and pulls them, over a real etcd. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deleteAllKeys, type EtcdCluster, startEtcd } from '../../../support/etcd.ts';
import { eventually } from '../../../support/eventually.ts';
import { type ModelPayload, MooncakeStoreModel } from '../../../support/mooncake-store-model.ts';
import { startPublisher } from '../../../support/publisher.ts';
import { expectSameBytes, fillBytes, MIB, recordingLogger, TestStores } from '../../../support/test-store.ts';

let etcd: EtcdCluster;

beforeAll(async () => {
  etcd = await startEtcd();
});

beforeEach(() => deleteAllKeys(etcd.uri));

afterAll(() => etcd[Symbol.asyncDispose]());

/** Who is named in the first shard: gold, then replicas. */
function namesIn(payload: ModelPayload | undefined): string[][] {
  const [shard] = payload?.shards ?? [];
  const names = (list: readonly { readonly segment_name: string }[] | null | undefined): string[] =>
    (list ?? []).map(({ segment_name }) => segment_name).sort();
  return [names(shard?.gold), names(shard?.replica_list)];
}

async function recordOf(model: MooncakeStoreModel, name: string): Promise<ModelPayload | undefined> {
  return (await model.find(name))?.payload;
}

function eventuallyNames(model: MooncakeStoreModel, name: string, gold: string[], replicas: string[]): Promise<true> {
  return eventually(
    `gold ${gold.join()} and replicas ${replicas.join()}`,
    async () => JSON.stringify(namesIn(await recordOf(model, name))) === JSON.stringify([gold, replicas]) || undefined,
    { deadlineMs: 30_000 },
  );
}

async function leaseOf(key: string): Promise<string> {
  const answer = (await etcd.member.post('kv/range', { key: Buffer.from(key).toString('base64') })) as {
    kvs?: readonly { lease?: string }[];
  };
  return answer.kvs?.[0]?.lease ?? 'none';
}

describe('an object of ours', () => {
  test('is listed and pulled by a Mooncake store, which serves it on to ours and its own kind', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2001');
    await using second = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2002');
    const a = await stores.open('A');
    const data = [fillBytes(MIB + 3), fillBytes(5)];
    await a.register('m<1>', [...data, Buffer.alloc(0)], [...data.map(({ length }) => length), 0], MIB, '*');
    await eventuallyNames(model, 'm<1>', ['A'], []);
    expect((await model.list('m'))[0]).toMatchObject({ name: 'm<1>', size: MIB + 8, size_list: [MIB + 3, 5] });
    const atModel = data.map(({ length }) => Buffer.alloc(length));
    await model.getReplica('m<1>', atModel);
    expectSameBytes(Buffer.concat(atModel), Buffer.concat(data));
    expect(namesIn(await recordOf(model, 'm<1>'))).toEqual([['A'], ['127.0.0.1:2001']]);
    expect(await leaseOf('mooncake/checkpoint/m<1>')).toBe('none');

    await a.unregister('m<1>');
    expect(namesIn(await recordOf(model, 'm<1>'))).toEqual([[], ['127.0.0.1:2001']]);
    const atSecond = data.map(({ length }) => Buffer.alloc(length));
    await second.getReplica('m<1>', atSecond);
    expectSameBytes(Buffer.concat(atSecond), Buffer.concat(data));

    const b = await stores.open('B');
    const atB = Buffer.alloc(MIB + 8);
    expect(await b.getReplica('m<1>', [atB], [atB.length])).toMatchObject({ origin: 'mooncake', verified: 'none' });
    expectSameBytes(atB, Buffer.concat(data));
  });

  test('hangs on our lease until somebody else is in its record, and again when he has left', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2003');
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(MIB);
    await a.register('x', [data], [MIB], MIB, '*');
    await eventuallyNames(model, 'x', ['A'], []);
    expect(await leaseOf('mooncake/checkpoint/x')).not.toBe('none');
    await b.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    await eventuallyNames(model, 'x', ['A'], ['B']);
    expect(await leaseOf('mooncake/checkpoint/x')).toBe('none');
    await a.unregister('x');
    expect(namesIn(await recordOf(model, 'x'))).toEqual([[], ['B']]);
    await eventually('a lease', async () => (await leaseOf('mooncake/checkpoint/x')) !== 'none', {
      deadlineMs: 30_000,
    });
    const target = Buffer.alloc(MIB);
    await model.getReplica('x', [target]);
    expectSameBytes(target, data);
    await b.deleteReplica('x');
    expect(namesIn(await recordOf(model, 'x'))).toEqual([[], ['127.0.0.1:2003']]);
    await model.deleteReplica('x');
    expect(await stores.keys('mooncake/checkpoint/')).toEqual([]);
  });

  test('of a store that was killed goes from the record, and its replica stays', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2004');
    const published = { uri: etcd.uri, leaseTtlMs: 3_000, sizeBytes: MIB };
    await using first = await startPublisher({ ...published, segment: 'dies-first', name: 'x' });
    await using second = await startPublisher({ ...published, segment: 'dies-second', name: 'y' });
    await eventuallyNames(model, 'y', ['dies-second'], []);
    const b = await stores.open('B');
    await b.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    await eventuallyNames(model, 'x', ['dies-first'], ['B']);
    await first.kill();
    await second.kill();
    await eventually('the end of y', async () => (await model.find('y')) === undefined);
    await eventuallyNames(model, 'x', [], ['B']);
  });

  test('comes back into a record from which a Mooncake store took all gold', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2005');
    const a = await stores.open('A');
    await a.register('x', [fillBytes(MIB)], [MIB], MIB, '*');
    await eventuallyNames(model, 'x', ['A'], []);
    await model.getReplica('x', [Buffer.alloc(MIB)]);
    await model.unregister('x');
    await eventuallyNames(model, 'x', ['A'], ['127.0.0.1:2005']);
  });

  test('does not touch what a Mooncake store registered under its name, unless forced', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2006');
    await model.register('x', [fillBytes(MIB)], MIB);
    const logger = recordingLogger();
    const a = await stores.open('A', { logger });
    const data = fillBytes(MIB);
    await a.register('x', [data], [MIB], MIB, '*');
    await eventually('a line', () => logger.lines.some(({ message }) => message === 'not mirrored for Mooncake'));
    expect(namesIn(await recordOf(model, 'x'))).toEqual([['127.0.0.1:2006'], []]);
    await a.unregister('x');
    expect(namesIn(await recordOf(model, 'x'))).toEqual([['127.0.0.1:2006'], []]);
    await a.register('x', [data], [MIB], MIB, '*', { force: true });
    await eventuallyNames(model, 'x', ['A'], []);
  });

  test('is not mirrored when that is switched off, and leaves nothing there when its store closes', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2007');
    const quiet = await stores.open('quiet', { mooncakeMirror: false });
    await quiet.register('quiet', [fillBytes(MIB)], [MIB], MIB, '*');
    const a = await stores.open('A');
    await a.register('x', [fillBytes(MIB)], [MIB], MIB, '*');
    await eventuallyNames(model, 'x', ['A'], []);
    await model.getReplica('x', [Buffer.alloc(MIB)]);
    await a.close();
    expect(namesIn(await recordOf(model, 'x'))).toEqual([[], ['127.0.0.1:2007']]);
    expect(await stores.keys('mooncake/checkpoint/')).toEqual(['mooncake/checkpoint/x']);
  });
});

describe('a replica of ours', () => {
  test('of an object of theirs is pulled by a Mooncake store, after the gold is gone', async () => {
    await using stores = new TestStores(etcd.uri);
    await using gold = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2008');
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2009');
    const data = fillBytes(3 * MIB);
    await gold.register('x', [data], MIB);
    const b = await stores.open('B');
    const [first, rest] = [Buffer.alloc(MIB), Buffer.alloc(2 * MIB)];
    await b.getReplica('x', [first, rest], [first.length, rest.length]);
    await eventuallyNames(model, 'x', ['127.0.0.1:2008'], ['B']);
    await gold.unregister('x');
    await gold.close();
    const target = Buffer.alloc(data.length);
    await model.getReplica('x', [target]);
    expectSameBytes(target, data);
    await b.deleteReplica('x');
    expect(namesIn(await recordOf(model, 'x'))).toEqual([[], ['127.0.0.1:2009']]);
  });

  test('is one of three in the record at most', async () => {
    await using stores = new TestStores(etcd.uri);
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:2010');
    const a = await stores.open('A');
    await a.register('x', [fillBytes(MIB)], [MIB], MIB, '*');
    for (const segment of ['B', 'C', 'D', 'E', 'F']) {
      const store = await stores.open(segment);
      await store.getReplica('x', [Buffer.alloc(MIB)], [MIB]);
    }
    const count = async (): Promise<number> => namesIn(await recordOf(model, 'x'))[1]?.length ?? 0;
    await eventually('three replicas', async () => (await count()) === 3);
    const names = namesIn(await recordOf(model, 'x'));
    expect(names[0]).toEqual(['A']);
    expect(names[1]).toHaveLength(3);
  });
});
