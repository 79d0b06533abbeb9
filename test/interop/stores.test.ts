/**
 * Objects between a store of ours and a real engine of Mooncake's. The records of their Go store are written, or read, by the test:
 * that store cannot be installed. Its memory is that of the real engine, as it would be.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { MIB } from '../../src/core/units.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { decodePayload, encodePayload, type Payload } from '../../src/store/mooncake/payload-record.ts';
import { deleteAllKeys, type EtcdCluster, startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { expectSameBytes, fillBytes, TestStores } from '../support/test-store.ts';
import { MooncakePeer } from './support/mooncake-peer.ts';

const SHARD_BYTES = 4 * MIB;
const SIZE_BYTES = 3 * SHARD_BYTES + 5;
const KEY = 'mooncake/checkpoint/x';
const PEER = '127.0.0.1:12344';

let etcd: EtcdCluster;

beforeAll(async () => {
  etcd = await startEtcd();
});

beforeEach(() => deleteAllKeys(etcd.uri));

afterAll(() => etcd[Symbol.asyncDispose]());

const startPeer = (sizeBytes: number): Promise<MooncakePeer> =>
  MooncakePeer.start({ metadata: etcd.member.endpoint, name: PEER, sizeBytes });

/** What the Go store writes when it has registered the first bytes of the engine's memory. */
async function register(peer: MooncakePeer): Promise<void> {
  const shards = Array.from({ length: Math.ceil(SIZE_BYTES / SHARD_BYTES) }, (_, index) => ({
    sizeBytes: BigInt(Math.min(SHARD_BYTES, SIZE_BYTES - index * SHARD_BYTES)),
    gold: [{ segment: PEER, address: BigInt(peer.address + index * SHARD_BYTES) }],
    replicas: [],
  }));
  const sizeBytes = BigInt(SIZE_BYTES);
  const payload: Payload = { name: 'x', sizeBytes, sizes: [sizeBytes], maxShardSizeBytes: BigInt(SHARD_BYTES), shards };
  await using metadata = await openMetadataStore(etcd.uri);
  await metadata.commit([], [{ kind: 'put', key: KEY, value: encodePayload(payload) }]);
}

describe('an object in the memory of a real engine', () => {
  test('is listed and pulled by several stores of ours, which are then in its record', {
    timeout: 180_000,
  }, async () => {
    await using peer = await startPeer(2 * SIZE_BYTES);
    const data = fillBytes(SIZE_BYTES);
    peer.poke(0, data);
    await register(peer);
    await using stores = new TestStores(etcd.uri);
    const opened = await Promise.all(['A', 'B', 'C'].map((segment) => stores.open(segment)));
    expect(await opened[0]?.list('')).toMatchObject([{ name: 'x', totalSize: SIZE_BYTES, origin: 'mooncake' }]);
    await Promise.all(
      opened.map(async (store) => {
        const target = Buffer.alloc(SIZE_BYTES);
        const result = await store.getReplica('x', [target], [SIZE_BYTES]);
        expectSameBytes(target, data);
        expect(result).toMatchObject({ origin: 'mooncake', verified: 'none' });
      }),
    );
    await using metadata = await openMetadataStore(etcd.uri);
    await eventually('our replicas', async () => {
      const entry = await metadata.get(KEY);
      return entry && decodePayload(KEY, entry.value).shards.every(({ replicas }) => replicas.length === 3);
    });
  });

  test('costs seconds when its process was killed', { timeout: 180_000 }, async () => {
    const peer = await startPeer(SIZE_BYTES);
    await register(peer);
    await peer.kill();
    await using stores = new TestStores(etcd.uri);
    const store = await stores.open('A');
    const pull = store.getReplica('x', [Buffer.alloc(SIZE_BYTES)], [SIZE_BYTES], {
      signal: AbortSignal.timeout(60_000),
    });
    await expect(pull).rejects.toThrow(expect.objectContaining({ code: ErrorCode.NoSource }));
  });
});

describe('an object of ours', () => {
  test('is read by a real engine from the places that its mirrored record names', { timeout: 180_000 }, async () => {
    await using stores = new TestStores(etcd.uri);
    await using peer = await startPeer(SIZE_BYTES);
    const [a, b] = [await stores.open('127.0.0.1:12351'), await stores.open('127.0.0.1:12352')];
    const data = fillBytes(SIZE_BYTES);
    await a.register('x', [data], [SIZE_BYTES], SHARD_BYTES, '*');
    await b.getReplica('x', [Buffer.alloc(SIZE_BYTES)], [SIZE_BYTES]);
    await using metadata = await openMetadataStore(etcd.uri);
    const payload = await eventually('gold and a replica', async () => {
      const entry = await metadata.get(KEY);
      const read = entry && decodePayload(KEY, entry.value);
      return read?.shards.every(({ gold, replicas }) => gold.length + replicas.length === 2) ? read : undefined;
    });
    for (const list of ['gold', 'replicas'] as const) {
      peer.clear(0, SIZE_BYTES);
      for (const [index, shard] of payload.shards.entries()) {
        const [place] = shard[list];
        const [segment, remote] = [place?.segment ?? '', Number(place?.address)];
        const length = Number(shard.sizeBytes);
        expect(await peer.transfer({ opcode: 'read', segment, offset: index * SHARD_BYTES, remote, length })).toBe(0);
      }
      expect(peer.firstDifference(0, data)).toBe(-1);
    }
  });
});
