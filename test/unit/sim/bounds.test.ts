import { describe, expect, test } from 'vitest';
import { equalLinksBoundPieces, fluidBoundMs } from '../../../sim/bounds.ts';

describe('equalLinksBoundPieces', () => {
  test('is M + floor(log2 N)', () => {
    expect([1, 2, 3, 64, 1_000].map((receivers) => equalLinksBoundPieces(256, receivers))).toEqual([
      256, 257, 257, 262, 265,
    ]);
  });
});

describe('fluidBoundMs', () => {
  const link = (up: number, down: number) => ({ up, down });

  test("is set by the source's uplink, the slowest downlink or all uplinks together", () => {
    expect(fluidBoundMs(1_000, link(10, 1), [link(100, 100)])).toBe(100);
    expect(fluidBoundMs(1_000, link(100, 1), [link(100, 100), link(100, 5)])).toBe(200);
    expect(fluidBoundMs(1_000, link(20, 1), [link(0, 100), link(0, 100), link(5, 100)])).toBe(120);
  });
});
