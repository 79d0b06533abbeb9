import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import {
  BUFFERS_MAX,
  decodeObjectRecord,
  decodeSourceRecord,
  encodeObjectRecord,
  encodeSourceRecord,
  type ObjectRecord,
  type SourceRecord,
} from '../../../src/store/records.ts';

const object: ObjectRecord = {
  version: 1,
  generation: 'g1',
  sizes: [3, 0, 5],
  maxShardSizeBytes: 65_536,
  pieceSizeBytes: 4_096,
  digest: { algorithm: 'xxh64', root: '00ff' },
};
const source: SourceRecord = {
  version: 1,
  generation: 'g1',
  role: 'replica',
  isComplete: false,
  peerEndpoint: '10.0.0.1:4000',
  addresses: [0x7f0000001000, 0],
  sizes: [7, 1],
};
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const invalid = expect.objectContaining({ code: ErrorCode.RecordInvalid, context: { key: 'k' } });

function errorOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('object record', () => {
  test('comes back as it was written', () => {
    expect(decodeObjectRecord('k', encodeObjectRecord('k', object))).toEqual(object);
  });

  test('is read whatever fields a later release adds', () => {
    expect(decodeObjectRecord('k', json({ ...object, tensors: [1], digest: { ...object.digest, extra: 1 } }))).toEqual(
      object,
    );
  });

  test.each([
    { version: 2 },
    { generation: '' },
    { sizes: [-1] },
    { sizes: [1.5] },
    { sizes: [2 ** 53] },
    { sizes: 'no' },
    { maxShardSizeBytes: 3 },
    { maxShardSizeBytes: 0 },
    { pieceSizeBytes: null },
    { pieceSizeBytes: 131_072 },
    { sizes: [2 ** 52, 2 ** 52] },
    { sizes: [2 ** 40], pieceSizeBytes: 1 },
    { digest: { algorithm: 'md5' } },
    { digest: { algorithm: 'xxh64', root: 'XYZ' } },
  ])('is refused with %j', (change) => {
    expect(errorOf(() => decodeObjectRecord('k', json({ ...object, ...change })))).toEqual(invalid);
  });
});

describe('source record', () => {
  test('comes back as it was written, addresses as hexadecimal text', () => {
    const value = encodeSourceRecord('k', source);
    expect(JSON.parse(Buffer.from(value).toString()).addresses).toEqual(['0x7f0000001000', '0x0']);
    expect(decodeSourceRecord('k', value)).toEqual(source);
  });

  test('tells the addresses of other cards, and is read without those that make no sense', () => {
    const peerAddresses = ['10.0.1.1', 'fd00::1'];
    const written = encodeSourceRecord('k', { ...source, peerAddresses });
    expect(decodeSourceRecord('k', written)).toEqual({ ...source, peerAddresses });
    for (const bad of [['host'], ['fe80::1%eth0'], Array.from({ length: 9 }, () => '10.0.1.1'), 'no']) {
      const changed = json({ ...JSON.parse(Buffer.from(written).toString()), peerAddresses: bad });
      expect(decodeSourceRecord('k', changed)).toEqual({ ...source, peerAddresses: undefined });
    }
  });

  test.each([
    { role: 'silver' },
    { addresses: ['0x1'] },
    { addresses: [1, 2] },
    { addresses: ['0xffffffffffffffff', '0x1'] },
    { addresses: ['-1', '0x1'] },
    { peerEndpoint: '' },
    { peerEndpoint: 'a'.repeat(301) },
    { isComplete: 'yes' },
  ])('is refused with %j', (change) => {
    const written = JSON.parse(Buffer.from(encodeSourceRecord('k', source)).toString());
    expect(errorOf(() => decodeSourceRecord('k', json({ ...written, ...change })))).toEqual(invalid);
  });
});

test('any bytes are a record or P2P_RECORD_INVALID, never another error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), fc.jsonValue().map(json)), (value) => {
      for (const decode of [decodeObjectRecord, decodeSourceRecord]) {
        const error = errorOf(() => decode('k', value));
        if (error !== undefined) expect(error).toEqual(invalid);
      }
    }),
  );
});

describe('record sizes', () => {
  const TERABYTE = 1_000_000_000_000;

  test('a 1 TB object in 16 buffers takes less than 16 kB and 1 kB a source', () => {
    const sizes = Array.from({ length: 16 }, () => TERABYTE / 16);
    const addresses = sizes.map((size, index) => 0x7f0000000000 + index * size);
    const root = 'f'.repeat(64);
    expect(encodeObjectRecord('k', { ...object, sizes, digest: { algorithm: 'blake3', root } }).length).toBeLessThan(
      1_000,
    );
    const peerEndpoint = `${'host'.repeat(20)}:65535`;
    const generation = '00000000-0000-0000-0000-000000000000';
    const record: SourceRecord = { ...source, generation, peerEndpoint, sizes, addresses };
    expect(encodeSourceRecord('k', record).length).toBeLessThan(1_000);
  });

  test('both records of an object with as many buffers as allowed fit into one etcd request', () => {
    const sizes = Array.from({ length: BUFFERS_MAX }, () => 2 ** 40);
    const addresses = sizes.map(() => 0x7fffffffffff);
    const total =
      encodeObjectRecord('k', { ...object, sizes }).length +
      encodeSourceRecord('k', { ...source, sizes, addresses }).length;
    expect(total).toBeLessThan(1.5 * 1024 * 1024);
  });

  test('a record above the limit is refused with its size', () => {
    const sizes = Array.from({ length: 100_000 }, () => 2 ** 40);
    expect(errorOf(() => encodeObjectRecord('k', { ...object, sizes }))).toMatchObject({
      code: ErrorCode.RecordTooLarge,
      context: { key: 'k', limitBytes: 700_000 },
    });
  });
});
