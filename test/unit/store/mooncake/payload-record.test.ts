import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import {
  decodePayload,
  encodePayload,
  PAYLOAD_MAX_BYTES,
  type Payload,
  parsePayloadKey,
  payloadKey,
  SHARDS_MAX,
} from '../../../../src/store/mooncake/payload-record.ts';
import {
  CAPTURED_PAYLOAD_KEY,
  CAPTURED_WITH_REPLICA,
  CAPTURED_WITHOUT_GOLD,
} from '../../../support/captured-payloads.ts';

const decode = (text: string): Payload => decodePayload('k', Buffer.from(text));
const invalid = expect.objectContaining({ code: ErrorCode.RecordInvalid, context: { key: 'k' } });

describe('payload record', () => {
  test.each([
    ['with a replica', CAPTURED_WITH_REPLICA],
    ['without gold', CAPTURED_WITHOUT_GOLD],
  ])('as captured %s comes back byte by byte', (_what, text) => {
    expect(encodePayload(decode(text)).toString()).toBe(text);
  });

  test('says what the captured one says', () => {
    const { shards, ...rest } = decode(CAPTURED_WITH_REPLICA);
    expect(rest).toEqual({
      name: 'foo/bar',
      sizeBytes: 268_435_456n,
      sizes: [268_435_456n],
      maxShardSizeBytes: 67_108_864n,
    });
    expect(shards).toHaveLength(4);
    expect(shards[3]).toEqual({
      sizeBytes: 67_108_864n,
      gold: [{ segment: '127.0.0.1:12345', address: 139_908_291_231_744n }],
      replicas: [{ segment: '127.0.0.1:12346', address: 140_429_525_778_432n }],
    });
  });

  test('reads lists that are null, missing or empty as empty, and writes null', () => {
    for (const shards of ['null', '[]', '[{"size":1,"gold":null},{"size":1,"gold":[],"replica_list":null}]']) {
      const decoded = decode(`{"name":"a","size":2,"size_list":[2],"max_shard_size":1,"shards":${shards}}`);
      expect(decoded.shards.every(({ gold, replicas }) => gold.length === 0 && replicas.length === 0)).toBe(true);
    }
    expect(decode('{}')).toEqual({ name: '', sizeBytes: 0n, sizes: [], maxShardSizeBytes: 0n, shards: [] });
    expect(encodePayload(decode('{}')).toString()).toBe(
      '{"name":"","size":0,"size_list":null,"max_shard_size":0,"shards":null}',
    );
  });

  test('keeps addresses of all 64 bits', () => {
    const text =
      '{"name":"a","size":1,"size_list":[1],"max_shard_size":1,"shards":[{"size":1,"gold":[{"segment_name":"s","offset":18446744073709551615}],"replica_list":null}]}';
    expect(decode(text).shards[0]?.gold[0]?.address).toBe(2n ** 64n - 1n);
    expect(encodePayload(decode(text)).toString()).toBe(text);
  });

  test.each([
    ['no JSON', '{"name":'],
    ['no object', '[]'],
    ['a negative integer', '{"size":-1}'],
    ['an integer of 65 bits', '{"size":18446744073709551616}'],
    ['a fraction', '{"size":1.5}'],
    ['a power', '{"size":1e3}'],
    ['an integer as text', '{"size":"1"}'],
    ['a list that is none', '{"shards":{"0":1}}'],
    ['a shard that is none', '{"shards":[1]}'],
    ['a location without a segment', '{"shards":[{"gold":[{"offset":1}]}]}'],
    ['a segment that no key can name', '{"shards":[{"gold":[{"segment_name":"\\ud800","offset":1}]}]}'],
    ['too many shards', `{"shards":[${'{},'.repeat(SHARDS_MAX)}{}]}`],
    ['too deep', '['.repeat(1_000_000)],
    ['too large', `"${' '.repeat(PAYLOAD_MAX_BYTES)}"`],
  ])('is refused: %s', (_what, text) => {
    expect(() => decode(text)).toThrow(invalid);
  });

  test('has the key of its name, whatever the name', () => {
    expect(payloadKey('foo/bar')).toBe(CAPTURED_PAYLOAD_KEY);
    expect(parsePayloadKey(payloadKey('a~/b//'))).toBe('a~/b//');
    expect(parsePayloadKey('mooncake/ram/x')).toBeUndefined();
  });
});
