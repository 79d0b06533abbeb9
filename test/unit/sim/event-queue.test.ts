import { describe, expect, test } from 'vitest';
import { EventQueue } from '../../../sim/event-queue.ts';
import { seededRandom } from '../../../src/swarm/random.ts';

describe('EventQueue', () => {
  test('hands out thousands of events, each once, earliest first, and moves the time to each', () => {
    const queue = new EventQueue();
    const random = seededRandom(3);
    const times = Array.from({ length: 5_000 }, () => Math.floor(random() * 1_000));
    for (const [value, atMs] of times.entries()) queue.push(atMs, value % 7, value);
    const seen = new Set<number>();
    let lastMs = 0;
    const handle = (kind: number, value: number): void => {
      expect(kind).toBe(value % 7);
      expect(queue.nowMs).toBe(times[value]);
      expect(queue.nowMs).toBeGreaterThanOrEqual(lastMs);
      lastMs = queue.nowMs;
      seen.add(value);
    };
    while (queue.next(handle));
    expect(seen.size).toBe(times.length);
  });

  test('takes events while it hands out others', () => {
    const queue = new EventQueue();
    const order: number[] = [];
    queue.push(10, 0, 1);
    queue.push(30, 0, 3);
    while (
      queue.next((_kind, value) => {
        order.push(value);
        if (value === 1) queue.push(20, 0, 2);
      })
    );
    expect(order).toEqual([1, 2, 3]);
  });
});
