import { describe, expect, test } from 'vitest';
import { MirrorQueue } from '../../../../src/store/mooncake/mirror-queue.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

describe('MirrorQueue', () => {
  test('works on a name once more when it was marked during the work, one at a time', async () => {
    const seen: string[] = [];
    const releases: (() => void)[] = [];
    const queue = new MirrorQueue(async (name) => {
      seen.push(name);
      await new Promise<void>((resolve) => releases.push(resolve));
    }, new FakeClock());
    queue.mark('a');
    queue.mark('a');
    queue.mark('a');
    expect(seen).toEqual(['a']);
    releases.shift()?.();
    await new Promise(setImmediate);
    expect(seen).toEqual(['a', 'a']);
    let isSettled = false;
    const settled = queue.settled('a').then(() => {
      isSettled = true;
    });
    await new Promise(setImmediate);
    expect(isSettled).toBe(false);
    releases.shift()?.();
    await settled;
    await queue.close();
  });

  test('works on four names at once', async () => {
    let running = 0;
    let most = 0;
    const queue = new MirrorQueue(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
    }, new FakeClock());
    for (let index = 0; index < 20; index++) queue.mark(`${index}`);
    await queue.drained();
    expect({ most, running }).toEqual({ most: 4, running: 0 });
  });

  test('tries again later what failed, and not after close()', async () => {
    const clock = new FakeClock();
    let tries = 0;
    const queue = new MirrorQueue(() => {
      tries += 1;
      return Promise.reject(new Error('away'));
    }, clock);
    queue.mark('a');
    await queue.settled('a');
    await clock.advance(500);
    await queue.settled('a');
    expect(tries).toBe(2);
    await queue.close();
    await clock.advance(60_000);
    queue.mark('a');
    await new Promise(setImmediate);
    expect(tries).toBe(2);
  });
});
