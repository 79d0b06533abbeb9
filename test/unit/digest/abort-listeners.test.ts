import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { AbortListeners } from '../../../src/digest/abort-listeners.ts';

describe('AbortListeners', () => {
  test('puts one listener on a signal, and takes it off with the last callback', () => {
    const { signal } = new AbortController();
    const listeners = new AbortListeners();
    const callbacks = Array.from({ length: 20 }, () => () => {});
    for (const callback of callbacks) listeners.add(signal, callback);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const callback of callbacks.slice(1)) listeners.remove(signal, callback);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    listeners.remove(signal, callbacks[0] ?? (() => {}));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('calls what is there when the signal fires, once, and nothing that was removed', () => {
    const abort = new AbortController();
    const listeners = new AbortListeners();
    const calls: string[] = [];
    const first = (): void => {
      calls.push('first');
      listeners.remove(abort.signal, first);
    };
    const removed = (): void => {
      calls.push('removed');
    };
    listeners.add(abort.signal, first);
    listeners.add(abort.signal, removed);
    listeners.add(abort.signal, () => calls.push('second'));
    listeners.remove(abort.signal, removed);
    abort.abort();
    expect(calls).toEqual(['first', 'second']);
  });

  test('keeps signals apart', () => {
    const [one, two] = [new AbortController(), new AbortController()];
    const listeners = new AbortListeners();
    const calls: number[] = [];
    listeners.add(one.signal, () => calls.push(1));
    listeners.add(two.signal, () => calls.push(2));
    two.abort();
    expect(calls).toEqual([2]);
  });
});
