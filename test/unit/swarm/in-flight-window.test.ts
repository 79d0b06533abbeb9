import { describe, expect, test } from 'vitest';
import { InFlightWindow } from '../../../src/swarm/in-flight-window.ts';

const pieceBytes = 1_000;

/** Lets pieces come at equal intervals, each of which took `leastMs`. */
function arrive(window: InFlightWindow, pieces: number, intervalMs: number, leastMs: number, startMs = 0): number {
  for (let at = 0; at < pieces; at++)
    window.arrived(pieceBytes, startMs + at * intervalMs - leastMs, leastMs, startMs + at * intervalMs);
  return startMs + pieces * intervalMs;
}

describe('InFlightWindow', () => {
  test('knows no rate, and asks for nothing, before the second piece', () => {
    const window = new InFlightWindow();
    expect(window.rate).toBeUndefined();
    window.arrived(pieceBytes, 95, 5, 100);
    expect(window.rate).toBeUndefined();
    expect(window.bytes(25)).toBe(0);
  });

  test('measures the rate of all sources together by the time between arrivals', () => {
    const window = new InFlightWindow();
    arrive(window, 20, 4, 40);
    expect(window.rate).toBeCloseTo(pieceBytes / 4);
  });

  test('holds what comes in the least time of a piece and in the time to bridge', () => {
    const window = new InFlightWindow();
    arrive(window, 20, 4, 40);
    expect(window.bytes(0)).toBeCloseTo((pieceBytes / 4) * 40);
    expect(window.bytes(25)).toBeCloseTo((pieceBytes / 4) * 65);
  });

  test('follows a link that became slower, and sources that became nearer', () => {
    const window = new InFlightWindow();
    const nowMs = arrive(window, 50, 1, 100);
    arrive(window, 100, 10, 10, nowMs);
    expect(window.rate).toBeCloseTo(pieceBytes / 10, 0);
    expect(window.bytes(0)).toBeCloseTo(pieceBytes, -1);
  });

  test('bears pieces that come in the same instant', () => {
    const window = new InFlightWindow();
    arrive(window, 10, 0, 1);
    expect(Number.isFinite(window.bytes(25))).toBe(true);
  });
});
