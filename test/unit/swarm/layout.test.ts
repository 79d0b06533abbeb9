import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GIB, isPowerOfTwo, KIB, MIB } from '../../../src/core/units.ts';
import { choosePieceSizeBytes, pieceAt, pieceCount, piecesOf } from '../../../src/swarm/layout.ts';

describe('choosePieceSizeBytes()', () => {
  test.each([
    [0, 64 * MIB, 256 * KIB],
    [4 * MIB, 64 * MIB, 256 * KIB],
    [32 * MIB, 64 * MIB, 256 * KIB],
    [128 * MIB, 64 * MIB, 512 * KIB],
    [GIB, 64 * MIB, 2 * MIB],
    [140 * GIB, 64 * MIB, 16 * MIB],
    [1000 * GIB, 64 * MIB, 16 * MIB],
    [GIB, 64 * 1024, 64 * 1024],
  ])('cuts %d bytes in shards of %d into pieces of %d', (totalSize, maxShardSize, expected) => {
    expect(choosePieceSizeBytes({ totalSize, maxShardSize })).toBe(expected);
  });

  test('cuts smaller for many receivers than for few', () => {
    const [few, many] = [2, 1_000].map((receivers) =>
      choosePieceSizeBytes({ totalSize: GIB, maxShardSize: 64 * MIB, receivers }),
    );
    expect(few).toBeGreaterThan(many ?? 0);
  });

  test.each([
    [undefined, 2 * MIB],
    [12.5e6, 2 * MIB],
    [1.25e9, 8 * MIB],
    [12.5e9, 16 * MIB],
  ])('cuts 1 GiB for a link of %d bytes a second into pieces of %d', (uplinkBytesPerSecond, expected) => {
    expect(choosePieceSizeBytes({ totalSize: GIB, maxShardSize: 64 * MIB, uplinkBytesPerSecond })).toBe(expected);
  });

  test('is a power of two that no shard is smaller than', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 45 }), fc.integer({ min: 0, max: 32 }), (totalSize, exponent) => {
        const size = choosePieceSizeBytes({ totalSize, maxShardSize: 2 ** exponent });
        expect(isPowerOfTwo(size)).toBe(true);
        expect(size).toBeLessThanOrEqual(Math.min(16 * MIB, 2 ** exponent));
        if (exponent >= 18) expect(size).toBeGreaterThanOrEqual(256 * KIB);
      }),
    );
  });
});

describe('piecesOf()', () => {
  test('covers the object without gaps, every piece but the last full', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 6, max: 12 }), (totalSize, exponent) => {
        const layout = { totalSize, pieceSizeBytes: 2 ** exponent };
        const pieces = piecesOf(layout);
        expect(pieces.length).toBe(pieceCount(layout));
        let end = 0;
        for (const piece of pieces) {
          assert.deepEqual(piece, pieceAt(layout, piece.index));
          assert.equal(piece.offset, end);
          assert(piece.lengthBytes > 0);
          assert(piece.lengthBytes === layout.pieceSizeBytes || piece.index === pieces.length - 1);
          end += piece.lengthBytes;
        }
        expect(end).toBe(totalSize);
      }),
    );
  });
});
