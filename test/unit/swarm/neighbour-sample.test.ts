import { describe, expect, test } from 'vitest';
import { NeighbourSample } from '../../../src/swarm/neighbour-sample.ts';
import { seededRandom } from '../../../src/swarm/random.ts';

describe('NeighbourSample', () => {
  test('takes everybody while there is room, then never more than its maximum', () => {
    const sample = new NeighbourSample<number>(4, seededRandom(1));
    for (const newcomer of [0, 1, 2, 3]) {
      expect(sample.meet(newcomer)).toEqual({ isTaken: true, displaced: undefined });
    }
    for (let newcomer = 4; newcomer < 200; newcomer++) {
      const before = [...sample.members];
      const { isTaken, displaced } = sample.meet(newcomer);
      expect(sample.members).toHaveLength(4);
      expect(sample.members.includes(newcomer)).toBe(isTaken);
      expect(before.filter((member) => !sample.members.includes(member))).toEqual(isTaken ? [displaced] : []);
    }
  });

  test('holds early and late ones with equal probability', () => {
    const met = 40;
    const runs = 4_000;
    const times = new Array<number>(met).fill(0);
    const random = seededRandom(7);
    for (let run = 0; run < runs; run++) {
      const sample = new NeighbourSample<number>(8, random);
      for (let newcomer = 0; newcomer < met; newcomer++) sample.meet(newcomer);
      for (const member of sample.members) times[member] = (times[member] ?? 0) + 1;
    }
    // 800 expected, with a standard deviation of 25
    expect(Math.min(...times)).toBeGreaterThan(675);
    expect(Math.max(...times)).toBeLessThan(925);
  });

  test('has room again after one left, and after it was widened', () => {
    const sample = new NeighbourSample<string>(1, seededRandom(1));
    sample.meet('a');
    expect(sample.hasRoom).toBe(false);
    sample.remove('a');
    sample.remove('unknown');
    expect(sample.hasRoom).toBe(true);
    expect(sample.take('b')).toBeUndefined();
    expect(sample.take('c')).toBe('b');
    sample.widen(2);
    expect(sample.take('d')).toBeUndefined();
    expect(sample.members).toEqual(['c', 'd']);
  });
});
