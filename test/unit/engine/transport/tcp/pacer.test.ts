import { beforeEach, describe, expect, test } from 'vitest';
import { Pacer, PaceTicket } from '../../../../../src/engine/transport/tcp/pacer.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';

describe('Pacer', () => {
  let clock: FakeClock;
  let waitMs: number;
  let asked: number[];
  let woken: string[];
  let pacer: Pacer;

  beforeEach(() => {
    clock = new FakeClock();
    waitMs = 10;
    asked = [];
    woken = [];
    const take = (flow: number): number => {
      asked.push(flow);
      return waitMs;
    };
    pacer = new Pacer({ take, bytesPerSecond: 1_000_000 }, clock);
  });

  const ticket = (name: string, flow: number): PaceTicket => new PaceTicket(flow, () => woken.push(name));

  test('lets through what the limiter allows', () => {
    waitMs = 0;
    expect(pacer.take(ticket('a', 1), 100)).toBe(true);
    expect(woken).toEqual([]);
  });

  test('wakes who was refused when the limiter said to come back, and asks it for nobody before that', async () => {
    const [first, second] = [ticket('first', 1), ticket('second', 1)];
    expect([pacer.take(first, 100), pacer.take(second, 100), pacer.take(first, 100)]).toEqual([false, false, false]);
    expect(asked).toEqual([1]);
    await clock.advance(9);
    expect(woken).toEqual([]);
    await clock.advance(1);
    expect(woken).toEqual(['first']);
  });

  test('lets the connections of a flow take turns', async () => {
    const [first, second] = [ticket('first', 1), ticket('second', 1)];
    pacer.take(first, 100);
    pacer.take(second, 100);
    await clock.advance(10);
    waitMs = 0;
    expect(pacer.take(first, 100)).toBe(true);
    expect(woken).toEqual(['first', 'second']);
  });

  test('lets no flow wait behind another', async () => {
    pacer.take(ticket('a1', 1), 100);
    pacer.take(ticket('a2', 1), 100);
    pacer.take(ticket('b', 2), 100);
    expect(asked).toEqual([1, 2]);
    await clock.advance(10);
    expect(woken).toEqual(['a1', 'b']);
  });

  test('gives a turn that nobody used to the next', async () => {
    pacer.take(ticket('gone', 1), 100);
    pacer.take(ticket('next', 1), 100);
    await clock.advance(10);
    expect(woken).toEqual(['gone']);
    await clock.advance(20);
    expect(woken).toEqual(['gone', 'next']);
  });

  test('forgets who has left', async () => {
    const first = ticket('first', 1);
    pacer.take(first, 100);
    pacer.take(ticket('second', 1), 100);
    pacer.leave(first);
    await clock.advance(10);
    expect(woken).toEqual(['second']);
    expect(first.isParked).toBe(false);
  });

  test('wakes nobody once it is closed', async () => {
    pacer.take(ticket('a', 1), 100);
    pacer.close();
    await clock.advance(100);
    expect(woken).toEqual([]);
  });
});
