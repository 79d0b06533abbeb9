import { describe, expect, test } from 'vitest';
import {
  type CardPair,
  type Carrier,
  chooseMove,
  choosePath,
  selectPaths,
} from '../../../../src/engine/paths/path-choice.ts';

const MB = 1_000_000;

interface Path {
  readonly route: CardPair;
}

function pair(localCard: string, remoteCard: string, rank = 0): Path {
  return { route: { localCard, remoteCard, remoteAddress: '', rank } };
}

function carrier(bytesPerSecond: number, inflightBytes = 0, hasRoom = true): Carrier {
  return { bytesPerSecond, inflightBytes, hasRoom: () => hasRoom };
}

function namesOf(paths: readonly Path[]): string[] {
  return paths.map(({ route }) => `${route.localCard}-${route.remoteCard}`);
}

describe('selectPaths', () => {
  test('uses every card once where there are as many here as there', () => {
    const all = [pair('a', 'x'), pair('b', 'y'), pair('a', 'y'), pair('b', 'x')];
    expect(namesOf(selectPaths(all))).toEqual(['a-x', 'b-y']);
  });

  test('finds others for the cards of a pair that does not work', () => {
    expect(namesOf(selectPaths([pair('b', 'y'), pair('a', 'y'), pair('b', 'x')]))).toEqual(['b-y', 'a-y', 'b-x']);
  });

  test('takes those of another rank only where the best has none', () => {
    expect(namesOf(selectPaths([pair('a', 'x', 1), pair('b', 'x', 0)]))).toEqual(['b-x']);
    expect(namesOf(selectPaths([pair('a', 'x', 1), pair('c', 'x', 2)]))).toEqual(['a-x']);
    expect(selectPaths([])).toEqual([]);
  });
});

describe('choosePath', () => {
  test('takes the path that ends the slice first, among those with room', () => {
    const [slow, fast, full] = [carrier(10 * MB), carrier(40 * MB, 2 * MB), carrier(400 * MB, MB, false)];
    expect(choosePath([slow, fast], MB, 50 * MB)).toBe(fast);
    expect(choosePath([slow, carrier(40 * MB, 4 * MB)], MB, 50 * MB)).toBe(slow);
    expect(choosePath([full], MB, MB)).toBeUndefined();
  });

  test('leaves the last slices to a fast path that is full now', () => {
    const slow = carrier(MB);
    const fast = carrier(100 * MB, 10 * MB, false);
    expect(choosePath([slow, fast], MB, MB)).toBeUndefined();
    expect(choosePath([slow, fast], MB, 500 * MB)).toBe(slow);
  });

  test('never leaves work to nobody', () => {
    const speeds = [1, 0.9 * MB, MB, 50 * MB];
    for (const first of speeds)
      for (const second of speeds)
        for (const third of speeds) {
          const paths = [carrier(first), carrier(second), carrier(third)];
          expect(choosePath(paths, MB, MB)).toBeDefined();
        }
  });

  test('fills unequal paths by their speed', () => {
    const loads = [0, 0];
    const speeds = [37.5 * MB, 12.5 * MB];
    for (let left = 64; left > 0; left--) {
      const paths = speeds.map((speed, index) => ({ index, ...carrier(speed, loads[index]) }));
      const chosen = choosePath(paths, MB, left * MB);
      if (chosen === undefined) throw new Error('each has room');
      loads[chosen.index] = (loads[chosen.index] ?? 0) + MB;
    }
    expect(loads).toEqual([48 * MB, 16 * MB]);
  });
});

describe('chooseMove', () => {
  test('moves from the path that takes longest to the fastest idle one, if that pays', () => {
    const [slow, idle] = [carrier(MB, 4 * MB), carrier(50 * MB)];
    expect(chooseMove([slow, carrier(2 * MB), idle], MB)).toEqual({ from: slow, to: idle });
    expect(chooseMove([carrier(50 * MB, 4 * MB), idle], MB)).toBeUndefined();
    expect(chooseMove([slow, carrier(50 * MB, 1)], MB)).toBeUndefined();
    expect(chooseMove([carrier(MB, 0), idle], MB)).toBeUndefined();
  });
});
