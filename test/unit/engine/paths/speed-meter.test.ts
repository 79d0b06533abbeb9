import { describe, expect, test } from 'vitest';
import { SpeedMeter } from '../../../../src/engine/paths/speed-meter.ts';

/** Feeds `bytes` in each tenth of a second. */
function feed(meter: SpeedMeter, count: number, bytes: number, fromMs = 0): void {
  meter.tick(fromMs, true);
  for (let tick = 1; tick <= count; tick++) {
    meter.add(bytes);
    meter.tick(fromMs + tick * 100, true);
  }
}

describe('SpeedMeter', () => {
  test('guesses until it has measured', () => {
    const meter = new SpeedMeter();
    expect(meter.isMeasured).toBe(false);
    feed(meter, 1, 1_250_000);
    expect([meter.isMeasured, meter.bytesPerSecond]).toEqual([true, 12_500_000]);
  });

  test('follows a change within a second or two', () => {
    const meter = new SpeedMeter();
    feed(meter, 20, 5_000_000);
    feed(meter, 20, 1_000_000, 2000);
    expect(meter.bytesPerSecond).toBeGreaterThan(10_000_000 * 0.99);
    expect(meter.bytesPerSecond).toBeLessThan(10_000_000 * 1.1);
  });

  test('does not take rest for slowness', () => {
    const meter = new SpeedMeter();
    feed(meter, 20, 5_000_000);
    const before = meter.bytesPerSecond;
    meter.add(10);
    meter.tick(2100, false);
    for (let tick = 0; tick < 20; tick++) meter.tick(2200 + tick * 100, false);
    expect(meter.bytesPerSecond).toBe(before);
  });

  test('gives a path that was slow another chance, after a rest or when it is back', () => {
    const meter = new SpeedMeter();
    feed(meter, 20, 5_000_000);
    feed(meter, 20, 0, 2000);
    const slow = meter.bytesPerSecond;
    expect(slow).toBeLessThan(1_000_000);
    meter.tick(4100, false);
    for (let tick = 0; tick < 40; tick++) meter.tick(4200 + tick * 100, false);
    expect(meter.bytesPerSecond).toBeGreaterThan(30_000_000);
    feed(meter, 20, 0, 9000);
    meter.recover();
    expect(meter.bytesPerSecond).toBeGreaterThan(30_000_000);
  });

  test('gives a path that was silent from the start another chance', () => {
    const meter = new SpeedMeter();
    const guess = meter.bytesPerSecond;
    feed(meter, 50, 0);
    expect(meter.isMeasured).toBe(false);
    expect(meter.bytesPerSecond).toBeLessThan(guess / 100);
    meter.recover();
    expect(meter.bytesPerSecond).toBe(guess);
    feed(meter, 1, 1_250_000, 9000);
    expect([meter.isMeasured, meter.bytesPerSecond]).toEqual([true, 12_500_000]);
  });

  test('never falls to 0', () => {
    const meter = new SpeedMeter();
    feed(meter, 1, 1_000_000);
    feed(meter, 200, 0, 100);
    expect(meter.bytesPerSecond).toBeGreaterThan(0);
  });
});
