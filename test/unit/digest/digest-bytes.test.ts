import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createHasher,
  DIGEST_ALGORITHMS,
  type DigestAlgorithm,
  digestBytes,
  digestSizeBytes,
} from '../../../src/digest/digest-bytes.ts';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The input of BLAKE3's published test vectors: bytes that count from 0 to 250, again and again. */
function countedBytes(lengthBytes: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, index) => index % 251);
}

describe('digestBytes', () => {
  // xxh64: `xxhsum -H64`; blake3: test_vectors.json of the BLAKE3 team.
  test.each<[DigestAlgorithm, Uint8Array, string]>([
    ['xxh64', new Uint8Array(0), 'ef46db3751d8e999'],
    ['xxh64', Buffer.from('a'), 'd24ec4f1a98c6e5b'],
    ['xxh64', Buffer.from('abc'), '44bc2cf5ad770999'],
    ['blake3', new Uint8Array(0), 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
    ['blake3', countedBytes(1), '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213'],
    ['blake3', countedBytes(1024), '42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7'],
  ])('%s of %o is %s', (algorithm, bytes, expected) => {
    expect(hex(digestBytes(algorithm, bytes))).toBe(expected);
  });

  test('looks at the bytes of a view only', () => {
    const whole = Buffer.from('xxabcxx');
    expect(hex(digestBytes('xxh64', whole.subarray(2, 5)))).toBe('44bc2cf5ad770999');
  });
});

describe.each(DIGEST_ALGORITHMS)('createHasher(%s)', (algorithm) => {
  test('gives digestSizeBytes bytes', () => {
    expect(digestBytes(algorithm, new Uint8Array(3))).toHaveLength(digestSizeBytes(algorithm));
  });

  test('gives the same digest however the bytes are cut', () => {
    const bytes = countedBytes(5000);
    const whole = hex(digestBytes(algorithm, bytes));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 8 }), (cuts) => {
        const hasher = createHasher(algorithm);
        let from = 0;
        for (const to of [...cuts.sort((a, b) => a - b), bytes.length]) {
          hasher.update(bytes.subarray(from, to));
          from = to;
        }
        expect(hex(hasher.digest())).toBe(whole);
      }),
    );
  });
});
