import { describe, expect, test } from 'vitest';
import { MIB } from '../../../src/core/units.ts';
import { limitedPullOptions } from '../../../src/store/limited-pull.ts';

describe('limitedPullOptions', () => {
  test('changes nothing without a limit', () => {
    expect(limitedPullOptions(undefined, MIB)).toEqual({});
  });

  test.each([
    [1_000, 16 * MIB, 2],
    [64 * MIB, 16 * MIB, 5],
    [10_000 * MIB, MIB, 64],
  ])(
    'of %d bytes a second asks for pieces of %d bytes, %d at once, each of one source',
    (limit, pieceBytes, piecesMax) => {
      expect(limitedPullOptions(limit, pieceBytes)).toEqual({ piecesMax, copiesMax: 1 });
    },
  );
});
