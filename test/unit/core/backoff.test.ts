import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoffMs } from '../../../src/core/backoff.ts';

const bounds = { firstMs: 100, maxMs: 5000 };

describe('backoffMs', () => {
  test('doubles the bound with every failure', () => {
    const largest = [0, 1, 2, 3].map((attempt) => backoffMs(attempt, bounds, () => 1));
    expect(largest).toEqual([100, 200, 400, 800]);
  });

  test('waits at least half of the bound', () => {
    expect([0, 1, 2].map((attempt) => backoffMs(attempt, bounds, () => 0))).toEqual([50, 100, 200]);
  });

  test('never passes the maximum, after any number of failures', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
        const delayMs = backoffMs(attempt, bounds, () => random);
        expect(delayMs).toBeGreaterThanOrEqual(50);
        expect(delayMs).toBeLessThanOrEqual(5000);
      }),
    );
    expect(backoffMs(1_000_000, bounds, () => 1)).toBe(5000);
  });

  test('spreads the delays of nodes that fail together', () => {
    const delays = new Set(Array.from({ length: 20 }, () => backoffMs(3, bounds)));
    expect(delays.size).toBeGreaterThan(1);
  });
});
