import { describe, expect, test } from 'vitest';
import { KIB, MIB } from '../../../../src/core/units.ts';
import { chunkBytes, createRateLimit, RateLimiter } from '../../../../src/engine/transport/rate-limiter.ts';

const LIMIT = 10 * MIB;
const CHUNK = 40 * KIB;

/** A flow that takes chunks whenever it may, on virtual time. */
interface Taker {
  readonly flow: number;
  readonly fromMs?: number;
  /** Bytes a second that it wants; all it can get unless given. */
  readonly wants?: number;
  /** How late it comes when it was told to wait, in ms. */
  readonly lateMs?: (nowMs: number) => number;
}

/** Bytes that each taker got between `fromMs` and `toMs`, each with a handle of its own as in threads. */
function run(takers: readonly Taker[], toMs: number, fromMs = 0, limit = createRateLimit(LIMIT)): number[] {
  const runners = takers.map((taker) => ({
    taker,
    limiter: new RateLimiter(limit),
    nextMs: taker.fromMs ?? 0,
    got: 0,
  }));
  for (;;) {
    const runner = runners.reduce((first, other) => (other.nextMs < first.nextMs ? other : first));
    const nowMs = runner.nextMs;
    if (nowMs >= toMs) return runners.map(({ got }) => got);
    const { flow, wants = Number.POSITIVE_INFINITY, lateMs = () => 0 } = runner.taker;
    const waitMs = runner.limiter.take(flow, CHUNK, 1_000_000 + nowMs);
    if (waitMs > 0) runner.nextMs = nowMs + waitMs + lateMs(nowMs);
    else {
      if (nowMs >= fromMs) runner.got += CHUNK;
      runner.nextMs = nowMs + (CHUNK / wants) * 1000;
    }
  }
}

const perSecond = (bytes: readonly number[], seconds: number): number[] => bytes.map((got) => got / seconds / LIMIT);

describe('RateLimiter', () => {
  test('passes the limit and no more', () => {
    const [rate = 0] = perSecond(run([{ flow: 1 }], 10_000), 10);
    expect(rate).toBeGreaterThan(0.99);
    expect(rate).toBeLessThan(1.01);
  });

  test('makes up for timers that come late, but passes at most 5 % more in any three seconds', () => {
    // On time, but for the first half of every third second, when they are 0 to 100 ms late.
    const lateMs = (nowMs: number): number => (nowMs % 3000 < 500 ? (nowMs * 7) % 100 : 1);
    expect(perSecond(run([{ flow: 1, lateMs }], 30_000), 30)[0]).toBeGreaterThan(0.97);
    for (let fromMs = 0; fromMs < 9000; fromMs += 250) {
      expect(perSecond(run([{ flow: 1, lateMs }], fromMs + 3000, fromMs), 3)[0]).toBeLessThan(1.05);
    }
  });

  test('saves nothing up while nobody wants anything', () => {
    const limit = createRateLimit(LIMIT);
    run([{ flow: 1 }], 1000, 0, limit);
    expect(perSecond(run([{ flow: 1, fromMs: 60_000 }], 61_000, 0, limit), 1)[0]).toBeLessThan(1.01);
  });

  test('gives two flows equal parts, however many connections each has', () => {
    const rates = perSecond(run([{ flow: 1 }, { flow: 1 }, { flow: 1 }, { flow: 2, lateMs: () => 2 }], 5000), 5);
    const [a = 0, b = 0, c = 0, other = 0] = rates;
    expect(a + b + c).toBeCloseTo(0.5, 1.5);
    expect(other).toBeCloseTo(0.5, 1.5);
  });

  test('gives a flow that wants little all it wants, and the others the rest in equal parts', () => {
    const rates = perSecond(run([{ flow: 1 }, { flow: 2, wants: LIMIT / 10 }, { flow: 3 }], 10_000), 10);
    expect(rates[1]).toBeGreaterThan(0.09);
    expect(rates[0]).toBeCloseTo(0.45, 1);
    expect(Math.abs((rates[0] ?? 0) - (rates[2] ?? 0))).toBeLessThan(0.03);
    expect(rates.reduce((sum, rate) => sum + rate, 0)).toBeGreaterThan(0.98);
  });

  test('gives one flow everything when no other wants anything', () => {
    const limit = createRateLimit(LIMIT);
    run([{ flow: 1 }, { flow: 2 }], 2000, 0, limit);
    // Flow 2 was told to wait and never came back.
    expect(perSecond(run([{ flow: 1, fromMs: 2000 }], 4000, 0, limit), 2)[0]).toBeGreaterThan(0.95);
  });

  test('gives a flow that joins late its part, and no more', () => {
    const takers = [{ flow: 1 }, { flow: 2, fromMs: 5000 }];
    for (const toMs of [5500, 8000]) {
      const [, late = 0] = perSecond(run(takers, toMs, 5000), (toMs - 5000) / 1000);
      expect(late).toBeGreaterThan(0.45);
      expect(late).toBeLessThan(0.55);
    }
  });

  test('gives what a flow did not want for a while to the others for good', () => {
    const limit = createRateLimit(LIMIT);
    run([{ flow: 1 }, { flow: 2 }], 1000, 0, limit);
    run([{ flow: 1, fromMs: 1000 }], 4000, 0, limit);
    const both = [
      { flow: 1, fromMs: 4000 },
      { flow: 2, fromMs: 4000 },
    ];
    expect(perSecond(run(both, 6000, 0, limit), 2)[1]).toBeLessThan(0.55);
  });

  test('goes on when there are more flows than it can tell apart', () => {
    const takers = Array.from({ length: 100 }, (_, index) => ({
      flow: 4096 * (index + 1),
      lateMs: (nowMs: number) => (nowMs * 13 + index * 7) % 2,
    }));
    const got = run(takers, 10_000);
    expect(got.reduce((sum, bytes) => sum + bytes, 0) / 10 / LIMIT).toBeGreaterThan(0.95);
    expect(Math.min(...got)).toBeGreaterThan(0);
  });
});

describe('chunkBytes', () => {
  test.each([
    [100_000, 4 * KIB],
    [10_000_000, 36 * KIB],
    [1_000_000_000, 256 * KIB],
  ])('of %d bytes a second is %d', (bytesPerSecond, expected) => {
    expect(chunkBytes(bytesPerSecond, 4 * KIB, 256 * KIB)).toBe(expected);
  });
});
