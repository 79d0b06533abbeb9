import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { openDeadline } from '../../../src/cli/deadline.ts';

const fired = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }));

describe('openDeadline', () => {
  test('fires with a TimeoutError when the time is over', async () => {
    using deadline = openDeadline(new AbortController().signal, 5);
    expect(await fired(deadline.signal)).toMatchObject({ name: 'TimeoutError' });
  });

  test('fires with the reason of its parent', () => {
    const parent = new AbortController();
    using deadline = openDeadline(parent.signal, undefined);
    parent.abort('stop');
    expect(deadline.signal.reason).toBe('stop');
    using late = openDeadline(parent.signal, 1000);
    expect(late.signal.reason).toBe('stop');
  });

  test('leaves no listener on its parent', () => {
    const { signal } = new AbortController();
    openDeadline(signal, 1000)[Symbol.dispose]();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});
