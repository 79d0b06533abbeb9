import { describe, expect, test } from 'vitest';
import { Bitmap } from '../../../src/swarm/bitmap.ts';
import type { Scheduler } from '../../../src/swarm/scheduler.ts';
import type { Flight } from '../../../src/swarm/scheduler-holder.ts';
import type { SchedulerOptions } from '../../../src/swarm/scheduler-options.ts';
import {
  askWhenDue,
  bitmapOf,
  complete,
  createScheduler,
  schedulerPieceBytes as pieceBytes,
  theOne,
} from '../../support/schedulers.ts';

/** What a piece is taken to need before any has come. */
const pieceMs = 8;

describe('Scheduler, when a source is busy', () => {
  test('leaves it alone for longer each time in a row, and begins anew with a piece that came', () => {
    for (let seed = 0; seed < 10; seed++) {
      const scheduler = createScheduler(2, { holderPiecesMax: 1 }, seed);
      scheduler.setHolder('a', 'replica', Bitmap.full(2));
      let nowMs = 100;
      let flight = theOne(scheduler.nextRequests(nowMs));
      const refuse = (): number => {
        scheduler.onFailed(flight, nowMs, 'busy');
        const due = askWhenDue(scheduler, nowMs);
        const waitMs = due.nowMs - nowMs;
        nowMs = due.nowMs;
        flight = theOne(due.flights);
        return waitMs / pieceMs;
      };
      for (const factor of [1, 2, 4, 8, 8, 8]) {
        const waited = refuse();
        expect(waited).toBeGreaterThanOrEqual(factor * 0.5);
        expect(waited).toBeLessThanOrEqual(factor * 1.5);
      }
      complete(scheduler, flight, nowMs);
      flight = theOne(scheduler.nextRequests(nowMs));
      expect(refuse()).toBeLessThanOrEqual(1.5);
    }
  });

  test('asks another for the same piece, after a short pause', () => {
    const scheduler = createScheduler(1);
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    scheduler.setHolder('b', 'replica', Bitmap.full(1));
    const refused = theOne(scheduler.nextRequests(0));
    expect(scheduler.onFailed(refused, 1, 'busy')).toEqual({ cancel: [], ready: undefined, shouldGiveUp: false });
    expect(scheduler.piecesInFlight).toBe(0);
    expect(scheduler.nextRequests(1)).toEqual([]);
    const { nowMs, flights } = askWhenDue(scheduler, 1);
    expect(nowMs).toBeLessThanOrEqual(1 + pieceMs / 2);
    expect(theOne(flights)).toMatchObject({ piece: 0 });
    expect(theOne(flights).holderId).not.toBe(refused.holderId);
  });

  test('does not count as a failure', () => {
    const scheduler = createScheduler(1, { failuresMax: 2 });
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    for (let nowMs = 0; nowMs < 10_000; nowMs += 1_000) {
      const outcome = scheduler.onFailed(theOne(scheduler.nextRequests(nowMs)), nowMs, 'busy');
      expect(outcome.shouldGiveUp).toBe(false);
    }
    expect(scheduler.hasFailed('a')).toBe(false);
  });

  test('tells that news of sources do not matter while it waits', () => {
    const scheduler = createScheduler(8, { piecesMin: 1, sparePieces: 0 });
    scheduler.setHolder('a', 'replica', Bitmap.full(8));
    expect(scheduler.newsMatterMs).toBe(0);
    const flight = theOne(scheduler.nextRequests(0));
    expect(scheduler.newsMatterMs).toBe(Number.POSITIVE_INFINITY);
    scheduler.onFailed(flight, 10, 'busy');
    expect(scheduler.newsMatterMs).toBeGreaterThan(10);
    expect(scheduler.newsMatterMs).toBeLessThanOrEqual(10 + pieceMs / 2);
  });
});

describe('Scheduler, when the gold source has just sent a piece to somebody else', () => {
  /** A gold source and one other receiver; the gold source has refused the first of eight pieces, and sent the others. */
  function refuseFirst(): { scheduler: ReturnType<typeof createScheduler>; refused: Flight } {
    const scheduler = createScheduler(8, { holderPiecesMax: 1 });
    scheduler.setHolder('gold', 'gold', Bitmap.full(8));
    scheduler.setHolder('peer', 'replica', new Bitmap(8));
    const refused = theOne(scheduler.nextRequests(8));
    expect(scheduler.onFailed(refused, 10, 'sent').ready).toBeUndefined();
    for (let others = 0; others < 7; others++) {
      const other = theOne(scheduler.nextRequests(10));
      expect(other.holderId).toBe('gold');
      expect(other.piece).not.toBe(refused.piece);
      complete(scheduler, other, 12);
    }
    return { scheduler, refused };
  }

  test('asks for others meanwhile, and for that one again when nobody tells of it', () => {
    const { scheduler, refused } = refuseFirst();
    expect(scheduler.nextRequests(12)).toEqual([]);
    const { nowMs, flights } = askWhenDue(scheduler, 12);
    const patienceMs = refused.refuseWhen.sentWithinMs;
    expect(nowMs).toBeGreaterThanOrEqual(10 + patienceMs);
    expect(nowMs).toBeLessThanOrEqual(10 + 1.25 * patienceMs);
    expect(theOne(flights)).toMatchObject({ holderId: 'gold', piece: refused.piece });
  });

  test('asks who got it as soon as it is told', () => {
    const { scheduler, refused } = refuseFirst();
    expect(scheduler.nextRequests(12)).toEqual([]);
    scheduler.addPiece('peer', refused.piece);
    expect(theOne(scheduler.nextRequests(13))).toMatchObject({ holderId: 'peer', piece: refused.piece });
  });

  test('asks the gold source again soon after who got it has left', () => {
    const { scheduler, refused } = refuseFirst();
    scheduler.addPiece('peer', refused.piece);
    scheduler.removeHolder('peer');
    expect(theOne(scheduler.nextRequests(13))).toMatchObject({ holderId: 'gold', piece: refused.piece });
  });
});

describe('Scheduler, what a request lets a source refuse', () => {
  test('only of the gold source, and only a piece that no replica has, because it was just sent', () => {
    const scheduler = createScheduler(8, { holderPiecesMax: 1 });
    scheduler.setHolder('gold', 'gold', Bitmap.full(8));
    scheduler.setHolder('peer', 'replica', bitmapOf(8, [0, 2, 3, 4, 5, 6, 7]));
    const requests = scheduler.nextRequests(0);
    const seen = requests.map(({ holderId, piece, refuseWhen }) => [
      holderId,
      piece === 1,
      refuseWhen.sentWithinMs > 0,
    ]);
    expect(seen).toEqual([
      ['gold', true, true],
      ['peer', false, false],
    ]);
    const [rare, common] = requests;
    complete(scheduler, rare, 5);
    if (common !== undefined) scheduler.onFailed(common, 5, 'failed');
    const again = theOne(scheduler.nextRequests(6));
    expect(again).toMatchObject({ holderId: 'gold', refuseWhen: { sentWithinMs: 0 } });
  });

  test('hardly by what was just sent while no other receiver is known, and not at all for a few pieces', () => {
    const patienceMs = (pieces: number, hasPeer: boolean): number => {
      const scheduler = createScheduler(pieces, { holderPiecesMax: 1 });
      scheduler.setHolder('gold', 'gold', Bitmap.full(pieces));
      if (hasPeer) scheduler.setHolder('peer', 'replica', new Bitmap(pieces));
      return theOne(scheduler.nextRequests(0)).refuseWhen.sentWithinMs;
    };
    expect([patienceMs(8, true), patienceMs(8, false), patienceMs(7, true)]).toEqual([1_000, 100, 0]);
  });

  test('by all that the gold source has sent, while another receiver has not told yet what it has', () => {
    const askFirst = (prepare: (scheduler: Scheduler) => void): number => {
      const scheduler = createScheduler(8, { holderPiecesMax: 1 });
      scheduler.expectHolder('peer');
      prepare(scheduler);
      scheduler.setHolder('gold', 'gold', Bitmap.full(8));
      return theOne(scheduler.nextRequests(0)).refuseWhen.sentWithinMs;
    };
    expect(askFirst(() => {})).toBe(60_000);
    expect(askFirst((scheduler) => scheduler.setHolder('peer', 'replica', new Bitmap(8)))).toBe(1_000);
    expect(askFirst((scheduler) => scheduler.expectNothing('peer'))).toBe(100);
    expect(askFirst((scheduler) => scheduler.removeHolder('peer'))).toBe(100);
  });

  test('waits no longer for who cannot be heard', () => {
    const scheduler = createScheduler(8, { holderPiecesMax: 1 });
    scheduler.setHolder('gold', 'gold', Bitmap.full(8));
    scheduler.expectHolder('peer');
    for (let piece = 0; piece < 8; piece++) scheduler.onFailed(theOne(scheduler.nextRequests(8)), 10, 'sent');
    expect(scheduler.nextRequests(11)).toEqual([]);
    expect(scheduler.lookAgainMs).toBeGreaterThan(1_000);
    scheduler.expectNothing('peer');
    expect(askWhenDue(scheduler, 12).nowMs).toBeLessThan(200);
  });

  test('allows for what is in flight to us already', () => {
    const scheduler = createScheduler(10, { busyPieces: 2 });
    scheduler.setHolder('a', 'replica', Bitmap.full(10));
    const queued = scheduler.nextRequests(0).map(({ refuseWhen }) => refuseWhen.queuedBytes);
    expect(queued).toEqual([2 * pieceBytes, 3 * pieceBytes]);
  });

  test('allows who has clearly more than all other receivers to add one piece', () => {
    const busyPieces = (otherHas: number): number => {
      const scheduler = createScheduler(20, { busyPieces: 2, holderPiecesMax: 1 });
      scheduler.setHolder('gold', 'gold', Bitmap.full(20));
      scheduler.setHolder('done', 'replica', Bitmap.full(20));
      scheduler.setHolder('peer', 'replica', new Bitmap(20));
      for (let piece = 0; piece < 6; piece++) complete(scheduler, scheduler.nextRequests(0)[0], 1_000);
      for (let piece = 0; piece < otherHas; piece++) scheduler.addPiece('peer', piece);
      const [next] = scheduler.nextRequests(1_000);
      return (next?.refuseWhen.queuedBytes ?? 0) / pieceBytes;
    };
    expect([busyPieces(1), busyPieces(2), busyPieces(20)]).toEqual([3, 2, 2]);
  });

  test('allows a fast source as much as it sends in twice the time to bridge', () => {
    const scheduler = createScheduler(10, { queueMs: 25, holderPiecesMax: 1 });
    scheduler.setHolder('a', 'replica', Bitmap.full(10));
    complete(scheduler, theOne(scheduler.nextRequests(0)), 1);
    const { queuedBytes } = theOne(scheduler.nextRequests(1)).refuseWhen;
    expect(queuedBytes).toBe(2 * 25 * pieceBytes); // a piece came in 1 ms
  });
});

describe('Scheduler, pieces in flight', () => {
  /** The most that was in flight in the second half of a download through one link, from 8 sources. */
  function mostInFlight(link: { intervalMs: number; latencyMs: number }, options: SchedulerOptions): number {
    const scheduler = createScheduler(600, options);
    for (let at = 0; at < 8; at++) scheduler.setHolder(`r${at}`, 'replica', Bitmap.full(600));
    const due: { readonly atMs: number; readonly flight: Flight }[] = [];
    let [nowMs, freeMs, arrived, most] = [0, 0, 0, 0];
    while (arrived < 590) {
      for (const flight of scheduler.nextRequests(nowMs)) {
        freeMs = Math.max(freeMs, nowMs + link.latencyMs) + link.intervalMs;
        due.push({ atMs: freeMs, flight });
      }
      if (arrived > 300 && arrived < 500) most = Math.max(most, scheduler.piecesInFlight);
      const next = due.shift();
      if (next === undefined) throw new Error('it asks for nothing');
      nowMs = next.atMs;
      complete(scheduler, next.flight, nowMs);
      arrived++;
    }
    return most;
  }

  test('are as many as the link holds, and few more', () => {
    const options = { piecesMin: 1, sparePieces: 2 };
    expect(mostInFlight({ intervalMs: 10, latencyMs: 0 }, { ...options, queueMs: 5 })).toBeLessThanOrEqual(8);
    expect(mostInFlight({ intervalMs: 1, latencyMs: 20 }, { ...options, queueMs: 25 })).toBeGreaterThan(20);
  });

  test('are never fewer than asked for, nor more than allowed', () => {
    const slow = { intervalMs: 1_000, latencyMs: 0 };
    const fast = { intervalMs: 1, latencyMs: 20 };
    expect(mostInFlight(slow, { piecesMin: 7, sparePieces: 0 })).toBe(7);
    expect(mostInFlight(fast, { piecesMax: 9 })).toBe(9);
  });
});

describe('Scheduler, refusals in the endgame', () => {
  const patient: SchedulerOptions = { stallMsMin: 60_000, stallUnmeasuredMs: 60_000 };

  test('leaves a late piece with who sends it when the second one refuses, and tries again', () => {
    const scheduler = createScheduler(1, patient);
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    scheduler.setHolder('b', 'replica', Bitmap.full(1));
    const first = theOne(scheduler.nextRequests(0));
    const second = theOne(scheduler.nextRequests(5_000));
    const refused = scheduler.onFailed(second, 5_001, 'busy');
    expect(refused).toEqual({ cancel: [], ready: undefined, shouldGiveUp: false });
    expect(first.isCanceled).toBe(false);
    expect(scheduler.nextRequests(5_001)).toEqual([]);
    const third = theOne(scheduler.nextRequests(5_100));
    expect(third.holderId).toBe(second.holderId);
    const won = scheduler.onArrived(third, 5_101);
    expect(won.cancel).toEqual([first]);
    expect(scheduler.onFailed(first, 5_102, 'canceled').ready).toMatchObject({ piece: 0 });
  });

  test('a piece that all have refused is missing again', () => {
    const scheduler = createScheduler(1, patient);
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    scheduler.setHolder('b', 'replica', Bitmap.full(1));
    const first = theOne(scheduler.nextRequests(0));
    const second = theOne(scheduler.nextRequests(5_000));
    scheduler.onFailed(first, 5_001, 'busy');
    scheduler.onFailed(second, 5_001, 'busy');
    const { nowMs, flights } = askWhenDue(scheduler, 5_001);
    expect(nowMs).toBeLessThanOrEqual(5_001 + 1.5 * pieceMs);
    complete(scheduler, theOne(flights), nowMs);
    expect(scheduler.verdict()).toBe('complete');
  });
});
