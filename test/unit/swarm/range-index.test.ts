import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { piecesOf } from '../../../src/swarm/layout.ts';
import { mapPiece, RangeIndex } from '../../../src/swarm/range-index.ts';

/** Sizes that add up to `total`, some of them 0. */
function split(total: number, cuts: readonly number[]): number[] {
  const ends = [...cuts.map((cut) => cut % (total + 1)), total].sort((a, b) => a - b);
  return ends.map((end, at) => end - (ends[at - 1] ?? 0));
}

/** Places ranges apart from each other, in an order that is not that of their addresses. */
function place(sizes: readonly number[], base: number): { address: number; lengthBytes: number }[] {
  let next = base + sizes.reduce((sum, size) => sum + size + 3, 0);
  return sizes.map((lengthBytes) => {
    next -= lengthBytes + 3;
    return { address: next, lengthBytes };
  });
}

/** The address of each logical byte. */
function addresses(ranges: readonly { address: number; lengthBytes: number }[]): number[] {
  return ranges.flatMap(({ address, lengthBytes }) => Array.from({ length: lengthBytes }, (_, at) => address + at));
}

const cuts = fc.array(fc.nat(), { maxLength: 12 });

describe('mapPiece()', () => {
  test('pairs the same logical byte on both sides, whatever the splits', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        cuts,
        cuts,
        fc.integer({ min: 0, max: 7 }),
        (total, a, b, exponent) => {
          const remote = place(split(total, a), 10_000);
          const local = place(split(total, b), 90_000);
          const [from, to] = [addresses(remote), addresses(local)];
          const [remoteIndex, localIndex] = [new RangeIndex(remote), new RangeIndex(local)];
          for (const piece of piecesOf({ totalSize: total, pieceSizeBytes: 2 ** exponent })) {
            let offset = piece.offset;
            for (const extent of mapPiece(piece, remoteIndex, localIndex)) {
              assert(extent.lengthBytes > 0);
              for (let at = 0; at < extent.lengthBytes; at++, offset++) {
                assert.equal(extent.remoteAddress + at, from[offset]);
                assert.equal(extent.localAddress + at, to[offset]);
              }
            }
            assert.equal(offset, piece.offset + piece.lengthBytes);
          }
        },
      ),
    );
  });
});

describe('RangeIndex', () => {
  test('keeps the other fields of a range', () => {
    const index = new RangeIndex([{ address: 100, lengthBytes: 10, access: 'guarded' as const }]);
    expect(index.slice(2, 3)).toEqual([{ address: 102, lengthBytes: 3, access: 'guarded' }]);
  });

  test('refuses a slice that leaves the ranges', () => {
    const index = new RangeIndex([{ address: 100, lengthBytes: 10 }]);
    expect(() => index.slice(8, 3)).toThrow('slice lies outside');
    expect(() => index.slice(-1, 3)).toThrow('slice lies outside');
  });
});
