import { describe, expect, test } from 'vitest';
import { EarlyFollows } from '../../../src/swarm/early-follows.ts';
import type { FollowFeed } from '../../../src/swarm/follow-feed.ts';

const join = (): ((feed: FollowFeed) => void) => () => {};

describe('EarlyFollows', () => {
  test('hands out those who wait for a name, once, and nobody who has left', () => {
    const early = new EarlyFollows();
    const [first, second, other] = [join(), join(), join()];
    early.add('x', first);
    const leave = early.add('x', second);
    early.add('y', other);
    leave();
    expect(early.take('x')).toEqual([first]);
    expect(early.take('x')).toEqual([]);
    leave();
    expect(early.take('y')).toEqual([other]);
  });

  test('turns away who would be one too many, and takes more when others have left', () => {
    const early = new EarlyFollows();
    const leaves = Array.from({ length: 4_096 }, (_, at) => early.add(`x${at % 3}`, join()));
    expect(() => early.add('x', join())).toThrow('too many wait here');
    leaves[0]?.();
    leaves[0]?.();
    early.add('x', join());
    expect(() => early.add('x', join())).toThrow('too many wait here');
    early.take('x1');
    early.add('x', join());
  });

  test('refuses a name that no object can have', () => {
    expect(() => new EarlyFollows().add('é'.repeat(257), join())).toThrow('no object has such a name');
    new EarlyFollows().add('é'.repeat(256), join());
  });
});
