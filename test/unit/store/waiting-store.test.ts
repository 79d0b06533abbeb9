import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import type { MetadataStore } from '../../../src/metadata/metadata-store.ts';
import type { P2PStore } from '../../../src/store/p2p-store.ts';
import { waitingKey } from '../../../src/store/record-keys.ts';
import { eventually } from '../../support/eventually.ts';
import { expectSameBytes, fillBytes, MIB, SHARD, TestStores } from '../../support/test-store.ts';

const NAME = 'models/x';
const WAITING = 'p2pstore/v1/waiting/';

describe('P2PStore.gather()', () => {
  let stores: TestStores;
  let gold: P2PStore;
  let waiting: P2PStore[];

  beforeEach(async () => {
    stores = new TestStores();
    gold = await stores.open('gold');
    waiting = [await stores.open('a'), await stores.open('b'), await stores.open('c')];
  });
  afterEach(() => stores[Symbol.asyncDispose]());

  const gatherAll = (): Promise<AsyncDisposable[]> => Promise.all(waiting.map((store) => store.gather(NAME)));

  test('lists who waits, until it waits no more, or its store is closed', async () => {
    const [a, b] = await gatherAll();
    const [keyA, keyB, keyC] = ['a', 'b', 'c'].map((segment) => waitingKey(NAME, segment));
    expect((await stores.keys(WAITING)).sort()).toEqual([keyA, keyB, keyC].sort());
    await a?.[Symbol.asyncDispose]();
    await waiting[2]?.close();
    expect(await stores.keys(WAITING)).toEqual([keyB]);
    await b?.[Symbol.asyncDispose]();
    expect(await stores.keys(WAITING)).toEqual([]);
  });

  test('all pull together what comes, and each from others too', async () => {
    const gatherings = await gatherAll();
    const data = fillBytes(8 * MIB);
    await gold.register(NAME, [data], [data.length], SHARD, '*', { pieceSize: MIB / 16 });
    const pulls = waiting.map(async (store) => {
      const replica = Buffer.alloc(data.length);
      const { sources } = await store.getReplica(NAME, [replica], [replica.length]);
      expectSameBytes(replica, data);
      return sources.length;
    });
    for (const sources of await Promise.all(pulls)) expect(sources).toBeGreaterThan(1);
    for (const gathering of gatherings) await gathering[Symbol.asyncDispose]();
    expect(await stores.keys(WAITING)).toEqual([]);
  });

  test('once for a name: a second call is refused, and leaves the first', async () => {
    const [a] = waiting;
    const gathering = await a?.gather(NAME);
    await expect(a?.gather(NAME)).rejects.toMatchObject({ code: ErrorCode.PayloadOpened, context: { name: NAME } });
    await (await a?.gather('models/y'))?.[Symbol.asyncDispose]();
    expect(await stores.keys(WAITING)).toEqual([waitingKey(NAME, 'a')]);
    await gathering?.[Symbol.asyncDispose]();
    await (await a?.gather(NAME))?.[Symbol.asyncDispose]();
  });

  test('passes over a record that is none', async () => {
    const metadata: MetadataStore = await stores.metadata();
    const put = (segment: string, value: string) => {
      const key = waitingKey(NAME, segment);
      return metadata.commit([], [{ kind: 'put', key, value: Buffer.from(value) }]);
    };
    await put('bad', '{"version":1,"peerEndpoint":5}');
    await using _gathering = await waiting[0]?.gather(NAME);
    await put('worse', 'no JSON');
    await put('worst', '{}');
    await waiting[1]?.close();
  });

  test('rejects a bad name, an aborted signal and a closed store', async () => {
    const [a] = waiting;
    await expect(a?.gather('')).rejects.toMatchObject({ code: ErrorCode.InvalidArgument });
    const reason = new Error('enough');
    await expect(a?.gather(NAME, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await a?.close();
    await expect(a?.gather(NAME)).rejects.toMatchObject({ code: ErrorCode.Closed });
    await eventually('no record', async () => (await stores.keys(WAITING)).length === 0);
  });
});
