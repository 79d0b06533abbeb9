import { describe, expect, test } from 'vitest';
import { GIB, isPowerOfTwo, KIB, MIB } from '../../../src/core/units.ts';

describe('units', () => {
  test('are binary', () => {
    expect([KIB, MIB, GIB]).toEqual([2 ** 10, 2 ** 20, 2 ** 30]);
  });
});

describe('isPowerOfTwo', () => {
  test('accepts every power of two that a number holds exactly', () => {
    for (let exponent = 0; exponent < 53; exponent += 1) expect(isPowerOfTwo(2 ** exponent)).toBe(true);
  });

  test('refuses everything else, the neighbours of large powers included', () => {
    const others = [
      0,
      -1,
      -2,
      3,
      0.5,
      2 ** 32 + 1,
      2 ** 52 - 1,
      2 ** 52 + 1,
      2 ** 53 - 1,
      2 ** 53,
      Number.NaN,
      Infinity,
    ];
    expect(others.filter(isPowerOfTwo)).toEqual([]);
  });
});
