import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { abortable, sleep } from '../../../src/core/abort.ts';

const never = new Promise<never>(() => {});

describe('abortable', () => {
  test('passes on the value and the failure of the promise', async () => {
    const { signal } = new AbortController();
    await expect(abortable(Promise.resolve(7), signal)).resolves.toBe(7);
    await expect(abortable(Promise.reject(new Error('no')), signal)).rejects.toThrow('no');
    await expect(abortable(Promise.resolve(7), undefined)).resolves.toBe(7);
  });

  test('rejects with the reason of the signal, whatever its type, when that fires first', async () => {
    const controller = new AbortController();
    const waiting = abortable(never, controller.signal);
    controller.abort('enough');
    await expect(waiting).rejects.toBe('enough');
  });

  test('rejects at once when the signal has fired already', async () => {
    const reason = new Error('too late');
    await expect(abortable(Promise.resolve(7), AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test('leaves no listener on the signal, however it ends', async () => {
    const controller = new AbortController();
    await abortable(Promise.resolve(), controller.signal);
    await abortable(Promise.reject(new Error('no')), controller.signal).catch(() => {});
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  test.each([
    ['before the wait began', true],
    ['while it waits', false],
  ])('a failure after an abort %s is no unhandled rejection', async (_, isBefore) => {
    const controller = new AbortController();
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', onUnhandled);
    try {
      let fail: (reason: Error) => void = () => {};
      const late = new Promise<never>((_resolve, reject) => {
        fail = reject;
      });
      if (isBefore) controller.abort(new Error('enough'));
      const waiting = abortable(late, controller.signal);
      if (!isBefore) controller.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
      fail(new Error('late'));
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', onUnhandled);
    }
  });
});

describe('sleep', () => {
  test('resolves after no less than its delay', async () => {
    const startMs = performance.now();
    await sleep(20);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(19);
  });

  test('rejects with the reason of the signal long before its delay', async () => {
    const controller = new AbortController();
    const sleeping = sleep(3_600_000, controller.signal);
    controller.abort('enough');
    await expect(sleeping).rejects.toBe('enough');
  });

  test('holds the process until it ends, and no longer', async () => {
    const countTimers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = countTimers();
    const controller = new AbortController();
    const sleeping = sleep(3_600_000, controller.signal);
    expect(countTimers()).toBe(before + 1);
    controller.abort('enough');
    await expect(sleeping).rejects.toBe('enough');
    expect(countTimers()).toBe(before);
  });
});
