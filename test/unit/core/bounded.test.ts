import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { forEachBounded } from '../../../src/core/bounded.ts';

const { signal: never } = new AbortController();

describe('forEachBounded', () => {
  test('works on every item once, never on more than the limit', async () => {
    const seen: number[] = [];
    let running = 0;
    let runningMax = 0;
    await forEachBounded([1, 2, 3, 4, 5, 6, 7], 3, never, async (item) => {
      running += 1;
      runningMax = Math.max(runningMax, running);
      await setImmediate();
      seen.push(item);
      running -= 1;
    });
    expect(seen.sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(runningMax).toBe(3);
  });

  test('a failure aborts the others, starts no more, and is thrown once all have ended', async () => {
    const started: number[] = [];
    let isOtherQuiet = false;
    const failing = forEachBounded([1, 2, 3, 4], 2, never, async (item, signal) => {
      started.push(item);
      if (item === 1) throw new Error('first');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await setImmediate();
      isOtherQuiet = true;
      signal.throwIfAborted();
    });
    await expect(failing).rejects.toThrow('first');
    expect(started).toEqual([1, 2]);
    expect(isOtherQuiet).toBe(true);
  });

  test('an abort is thrown with its reason', async () => {
    const controller = new AbortController();
    const running = forEachBounded([1, 2, 3], 1, controller.signal, async () => controller.abort(new Error('stop')));
    await expect(running).rejects.toThrow('stop');
  });

  test('is done at once with nothing', async () => {
    await forEachBounded([], 4, never, () => Promise.reject(new Error('never called')));
  });
});
