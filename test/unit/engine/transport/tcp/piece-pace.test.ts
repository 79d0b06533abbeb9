import { describe, expect, test } from 'vitest';
import { PiecePace } from '../../../../../src/engine/transport/tcp/piece-pace.ts';

const MIB = 2 ** 20;

/** Notes pieces of 1 MiB at a steady pace. @returns Whether they count as slow at the end. */
function isSlowAt(bytesPerSecond: number, { pace = new PiecePace(), seconds = 2 } = {}): boolean {
  const intervalMs = (MIB / bytesPerSecond) * 1000;
  const endMs = seconds * 1000;
  for (let nowMs = 0; nowMs < endMs; nowMs += intervalMs) pace.note(MIB, nowMs);
  return pace.isSlow(endMs);
}

describe('PiecePace', () => {
  test('is slow before anything has come', () => {
    expect(new PiecePace().isSlow(0)).toBe(true);
  });

  test('is slow at 60 MB/s, fast at 80 MB/s', () => {
    expect(isSlowAt(60e6)).toBe(true);
    expect(isSlowAt(80e6)).toBe(false);
  });

  test('takes 16 MiB at once for slow, and a piece more for fast', () => {
    const pace = new PiecePace();
    for (let piece = 0; piece < 16; piece++) pace.note(MIB, 1000);
    expect(pace.isSlow(1000)).toBe(true);
    pace.note(MIB, 1000);
    expect(pace.isSlow(1000)).toBe(false);
  });

  test('stays fast while that goes on, and for 5 s after', () => {
    const pace = new PiecePace();
    expect(isSlowAt(1e9, { pace, seconds: 20 })).toBe(false);
    expect(pace.isSlow(24_900)).toBe(false);
    expect(pace.isSlow(25_100)).toBe(true);
  });
});
