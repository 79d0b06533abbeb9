import { describe, expect, test } from 'vitest';
import { AdaptiveSpin } from '../../../../src/engine/transport/adaptive-spin.ts';

function times(count: number, spin: AdaptiveSpin, hasFound: boolean): number[] {
  return Array.from({ length: count }, () => {
    const us = spin.nextUs();
    if (us > 0) spin.onResult(hasFound);
    return us;
  });
}

describe('AdaptiveSpin', () => {
  test('looks longer while it finds completions, up to 40 us', () => {
    expect(times(5, new AdaptiveSpin(), true)).toEqual([5, 10, 20, 40, 40]);
  });

  test('gives up while it finds none, but for a look now and then, and comes back when that finds one', () => {
    const spin = new AdaptiveSpin();
    times(10, spin, false);
    const looks = times(128, spin, false);
    expect(looks.filter((us) => us > 0).length).toBeLessThanOrEqual(10);
    expect(looks.filter((us) => us > 0).length).toBeGreaterThanOrEqual(1);
    const later = times(300, spin, true);
    expect(later.at(-1)).toBe(40);
  });
});
