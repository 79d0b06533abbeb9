import { describe, expect, test } from 'vitest';
import { ProgressMeter } from '../../../src/swarm/progress-meter.ts';

describe('ProgressMeter', () => {
  function setUp() {
    const inFlight = new Map<string, number>();
    const meter = new ProgressMeter(0, () => inFlight);
    meter.ask('a', 'gold');
    meter.ask('b', 'replica');
    return { meter, inFlight };
  }

  test('takes the rate of each source over the last second, and lets it fall to 0 when nothing comes', () => {
    const { meter } = setUp();
    for (let nowMs = 250; nowMs <= 3_000; nowMs += 250) {
      if (nowMs <= 1_000) meter.receive('a', 1_000);
      meter.receive('b', 100);
      meter.sample(nowMs);
      if (nowMs === 1_000) expect(Object.fromEntries(meter.rates(nowMs))).toEqual({ a: 4_000, b: 400 });
    }
    expect(Object.fromEntries(meter.rates(3_000))).toEqual({ a: 0, b: 400 });
  });

  test('counts what requests under way have brought, and does not count it again when they end', () => {
    const { meter, inFlight } = setUp();
    inFlight.set('a', 500);
    expect(meter.rates(500).get('a')).toBe(1_000);
    meter.sample(500);
    inFlight.delete('a');
    meter.receive('a', 800);
    meter.sample(1_000);
    expect(meter.rates(1_000).get('a')).toBe(800);
    expect(meter.rates(1_500).get('a')).toBe(300);
  });

  test('keeps verified bytes apart from those that came', () => {
    const { meter } = setUp();
    meter.receive('a', 100);
    meter.verify('a', 60);
    meter.ask('a', 'replica'); // the role of a source stays what it was
    expect(meter.bytes).toBe(60);
    expect(meter.sources()).toEqual([
      { segment: 'a', role: 'gold', bytes: 60 },
      { segment: 'b', role: 'replica', bytes: 0 },
    ]);
  });
});
