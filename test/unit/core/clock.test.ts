import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';

function activeTimers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
}

describe('systemClock', () => {
  test('nowMs() never goes back', () => {
    const times = Array.from({ length: 1000 }, () => systemClock.nowMs());
    expect(times).toEqual(times.toSorted((left, right) => left - right));
  });

  test('nowMs() is the same for every process of the machine', () => {
    const before = systemClock.nowMs();
    const inAnother = Number(execFileSync(process.execPath, ['-p', 'Number(process.hrtime.bigint()) / 1e6']));
    expect(inAnother).toBeGreaterThan(before);
    expect(inAnother).toBeLessThan(systemClock.nowMs());
  });

  test('after() calls once, no earlier than its delay', async () => {
    let calls = 0;
    const startMs = systemClock.nowMs();
    await new Promise<void>((resolve) => {
      systemClock.after(10, () => {
        calls += 1;
        resolve();
      });
    });
    expect(systemClock.nowMs() - startMs).toBeGreaterThanOrEqual(9);
    expect(calls).toBe(1);
  });

  test('after() calls nothing once cancelled', async () => {
    let calls = 0;
    const cancel = systemClock.after(1, () => {
      calls += 1;
    });
    cancel();
    await new Promise((resolve) => setTimeout(resolve, 20)); // a timer set later for later fires later
    expect(calls).toBe(0);
  });

  test('after() does not hold the process', () => {
    const before = activeTimers();
    const cancel = systemClock.after(3_600_000, () => {});
    expect(activeTimers()).toBe(before);
    cancel();
  });
});
