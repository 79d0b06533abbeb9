import { describe, expect, test } from 'vitest';
import { PathHealth } from '../../../../src/engine/paths/path-health.ts';

/** Without chance: every hold-back has its full length. */
const open = (): PathHealth => new PathHealth(() => 1);

describe('PathHealth', () => {
  test('is new until it is proven', () => {
    const health = open();
    expect([health.state, health.mayBeProbed(0), health.faults, health.lastFault]).toEqual(['new', true, 0, undefined]);
    health.onProven(5);
    expect([health.state, health.mayBeProbed(5)]).toEqual(['up', false]);
  });

  test('is held after a fault, and proven by a probe after that', () => {
    const health = open();
    health.onProven(0);
    health.onFault('reset', 20_000);
    expect([health.state, health.lastFault, health.heldUntilMs]).toEqual(['held', 'reset', 20_500]);
    expect([health.mayBeProbed(20_499), health.mayBeProbed(20_500)]).toEqual([false, true]);
    health.onProven(20_600);
    expect([health.state, health.heldUntilMs, health.faults]).toEqual(['up', 0, 1]);
  });

  test('holds a path that flaps back longer each time, up to half a minute', () => {
    const health = open();
    const holds: number[] = [];
    let nowMs = 0;
    for (let flap = 0; flap < 9; flap++) {
      health.onProven(nowMs);
      nowMs += 100;
      health.onFault('lost', nowMs);
      holds.push(health.heldUntilMs - nowMs);
      nowMs = health.heldUntilMs;
    }
    expect(holds).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
  });

  test('forgives a path that was up for long', () => {
    const health = open();
    for (const atMs of [0, 5000, 10_000]) {
      health.onProven(atMs);
      health.onFault('lost', atMs + 1);
    }
    health.onProven(20_000);
    health.onFault('lost', 30_000);
    expect(health.heldUntilMs).toBe(30_500);
  });

  test('probes that fail come rarer, but every 2 s at least where there was a path', () => {
    const health = open();
    health.onProven(0);
    health.onFault('lost', 60_000);
    health.onFault('no connection', 61_000);
    expect(health.heldUntilMs).toBe(61_500);
    health.onFault('no connection', 90_000);
    expect(health.heldUntilMs).toBe(92_000);
    const never = open();
    never.onFault('no connection', 0);
    never.onFault('no connection', 200_000);
    expect(never.heldUntilMs).toBe(220_000);
  });

  test('is not probed while its card is down, and at once afterwards', () => {
    const health = open();
    health.onProven(0);
    health.onCardDown('card eth0 is down', 10_000);
    health.onCardDown('card eth0 is down', 10_100);
    expect([health.state, health.faults, health.mayBeProbed(60_000)]).toEqual(['down', 1, false]);
    health.onCardUp();
    expect([health.state, health.mayBeProbed(60_000)]).toEqual(['held', true]);
  });
});
