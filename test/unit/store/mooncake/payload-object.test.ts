import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { MIB } from '../../../../src/core/units.ts';
import {
  completeCopies,
  isSameShape,
  objectOfPayload,
  payloadOfObject,
  segmentsOf,
} from '../../../../src/store/mooncake/payload-object.ts';
import { decodePayload, encodePayload, type Payload } from '../../../../src/store/mooncake/payload-record.ts';
import { CAPTURED_WITH_REPLICA, CAPTURED_WITHOUT_GOLD } from '../../../support/captured-payloads.ts';

const captured: Payload = decodePayload('k', Buffer.from(CAPTURED_WITH_REPLICA));
const withoutGold: Payload = decodePayload('k', Buffer.from(CAPTURED_WITHOUT_GOLD));
const gold = (...segments: string[]) => segments.map((segment) => ({ segment, address: 4096n }));
const shard = (size: number, ...segments: string[]): Payload['shards'][number] => ({
  sizeBytes: BigInt(size),
  gold: gold(...segments),
  replicas: [],
});
const payload = (sizes: number[], maxShard: number, shards: Payload['shards']): Payload => ({
  name: 'a',
  sizeBytes: BigInt(sizes.reduce((sum, size) => sum + size, 0)),
  sizes: sizes.map(BigInt),
  maxShardSizeBytes: BigInt(maxShard),
  shards,
});
const invalid = expect.objectContaining({ code: ErrorCode.RecordInvalid });

describe('objectOfPayload', () => {
  test('reads a captured record as an object that nobody can verify', () => {
    expect(objectOfPayload('foo/bar', captured)).toMatchObject({
      sizes: [256 * MIB],
      maxShardSizeBytes: 64 * MIB,
      digest: { algorithm: 'none' },
      origin: 'mooncake',
    });
  });

  test('tells another gold from the same with more replicas', () => {
    const generation = (one: Payload): string => objectOfPayload(one.name, one).generation;
    const moreReplicas = { ...captured, shards: captured.shards.map((each) => ({ ...each, replicas: gold('x') })) };
    expect(generation(moreReplicas)).toBe(generation(captured));
    expect(generation(withoutGold)).not.toBe(generation(captured));
  });

  test.each([
    ['of sizes that do not add up', { ...captured, sizeBytes: 1n }],
    ['of another name', { ...captured, name: 'b' }],
    ['with a shard too few', { ...captured, shards: captured.shards.slice(1) }],
    ['with a shard too many', { ...captured, shards: [...captured.shards, shard(1, 'x')] }],
    [
      'with a shard of another size',
      { ...captured, shards: captured.shards.map((each) => ({ ...each, sizeBytes: 1n })) },
    ],
    ['of a shard size that is no power of two', { ...captured, maxShardSizeBytes: 3n }],
    ['of a shard size above 4 GiB', { ...captured, maxShardSizeBytes: 2n ** 33n }],
    ['of more than 2^53 bytes', { ...captured, sizes: [2n ** 53n], sizeBytes: 2n ** 53n }],
  ])('refuses one %s', (_what, bad) => {
    expect(() => objectOfPayload('foo/bar', bad)).toThrow(invalid);
  });

  test('is undone by payloadOfObject, but for buffers without bytes', () => {
    const object = objectOfPayload('a', payload([5, 0, 2], 2, [shard(2), shard(2), shard(1), shard(2)]));
    expect(encodePayload(payloadOfObject('a', object)).toString()).toBe(
      '{"name":"a","size":7,"size_list":[5,2],"max_shard_size":2,"shards":[' +
        [2, 2, 1, 2].map((size) => `{"size":${size},"gold":null,"replica_list":null}`).join(',') +
        ']}',
    );
  });
});

describe('completeCopies', () => {
  test('lists gold before replicas, each with the places of all shards', () => {
    const copies = completeCopies(captured);
    expect(copies.map(({ segment, role }) => [segment, role])).toEqual([
      ['127.0.0.1:12345', 'gold'],
      ['127.0.0.1:12346', 'replica'],
    ]);
    expect(copies[1]?.ranges[2]).toEqual({ address: 140_429_458_669_568, lengthBytes: 64 * MIB });
    expect(segmentsOf(captured)).toEqual(['127.0.0.1:12345', '127.0.0.1:12346']);
  });

  test('leaves out who misses a shard, or has one where nobody can', () => {
    const shards = [shard(2, 'all', 'first', 'all'), shard(2, 'second', 'all')];
    expect(completeCopies(payload([4], 2, shards)).map(({ segment }) => segment)).toEqual(['all']);
    const beyond = { ...shard(2), gold: [{ segment: 'x', address: 2n ** 64n - 1n }] };
    const nowhere = { ...shard(2), gold: [{ segment: 'x', address: 0n }] };
    expect(completeCopies(payload([2], 2, [beyond]))).toEqual([]);
    expect(completeCopies(payload([2], 2, [nowhere]))).toEqual([]);
  });
});

describe('isSameShape', () => {
  test('looks at the cut, not at the places', () => {
    expect(isSameShape(captured, withoutGold)).toBe(true);
    expect(isSameShape(captured, { ...captured, sizes: [captured.sizeBytes, 0n] })).toBe(false);
    expect(isSameShape(captured, { ...captured, maxShardSizeBytes: 1n })).toBe(false);
  });
});
