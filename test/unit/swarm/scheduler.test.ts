import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bitmap } from '../../../src/swarm/bitmap.ts';
import type { Scheduler } from '../../../src/swarm/scheduler.ts';
import type { Flight } from '../../../src/swarm/scheduler-holder.ts';
import { bitmapOf, complete, createScheduler } from '../../support/schedulers.ts';

describe('Scheduler', () => {
  test('asks first for the piece that the fewest have', () => {
    for (let seed = 0; seed < 20; seed++) {
      const scheduler = createScheduler(4, { sparePieces: 64 }, seed);
      scheduler.setHolder('a', 'replica', bitmapOf(4, [0, 1, 2, 3]));
      scheduler.setHolder('b', 'replica', bitmapOf(4, [0, 1, 3]));
      scheduler.setHolder('c', 'replica', bitmapOf(4, [0, 3]));
      const asked = scheduler.nextRequests(0).filter(({ holderId }) => holderId === 'a');
      expect(asked[0]?.piece).toBe(2);
    }
  });

  test('asks receivers with different seeds for different pieces', () => {
    const first = new Set<number>();
    for (let seed = 0; seed < 64; seed++) {
      const scheduler = createScheduler(256, {}, seed);
      scheduler.setHolder('gold', 'gold', Bitmap.full(256));
      first.add(scheduler.nextRequests(0)[0]?.piece ?? -1);
    }
    expect(first.size).toBeGreaterThan(45); // 56 distinct ones are to be expected of 64 draws out of 256
  });

  describe('of a source that others ask too', () => {
    const roles = ['gold', 'replica'] as const;

    function withReceivers(receivers: number, role: 'gold' | 'replica'): Scheduler {
      const scheduler = createScheduler(256);
      scheduler.setHolder('source', role, Bitmap.full(256));
      for (let at = 1; at < receivers; at++) scheduler.setHolder(`r${at}`, 'replica', new Bitmap(256));
      return scheduler;
    }

    /** Lets pieces come, each a ms after the one before: 40 of them would be worth asking for at once. */
    function takePieces(scheduler: Scheduler, count: number, flights: Flight[], fromMs = 0): void {
      for (let nowMs = fromMs + 1; nowMs <= fromMs + count; nowMs++) {
        complete(scheduler, flights.shift(), nowMs);
        flights.push(...scheduler.nextRequests(nowMs));
      }
    }

    test.each(roles)('asks for its share of a few pieces, one at least (%s)', (role) => {
      const inFlight = (receivers: number): number => {
        const scheduler = withReceivers(receivers, role);
        takePieces(scheduler, 2, scheduler.nextRequests(0));
        return scheduler.piecesInFlight;
      };
      expect([2, 4, 5, 100].map(inFlight)).toEqual([4, 2, 1, 1]);
      expect(inFlight(1)).toBeGreaterThan(8);
    });

    test('asks for a share from the first piece on when others are about to ask it', () => {
      const asked = (receiversExpected: number): number => {
        const scheduler = createScheduler(256, { receiversExpected });
        scheduler.setHolder('source', 'gold', Bitmap.full(256));
        return scheduler.nextRequests(0).length;
      };
      expect([1, 4, 8].map(asked)).toEqual([2, 2, 1]);
    });

    test.each(roles)('asks for one more after each 24 pieces without a refusal (%s)', (role) => {
      const scheduler = withReceivers(8, role);
      const flights = scheduler.nextRequests(0);
      takePieces(scheduler, 23, flights);
      expect(scheduler.piecesInFlight).toBe(1);
      takePieces(scheduler, 1, flights, 23);
      expect(scheduler.piecesInFlight).toBe(2);
      takePieces(scheduler, 24, flights, 24);
      expect(scheduler.piecesInFlight).toBe(3);
      const [refused, ...others] = flights;
      if (refused === undefined) throw new Error('there is no request');
      scheduler.onFailed(refused, 50, 'busy');
      takePieces(scheduler, 3, others, 1_000); // the pause after the refusal is over
      expect(scheduler.piecesInFlight).toBe(1);
    });
  });

  test('gives a faster holder more of the work', () => {
    const scheduler = createScheduler(200);
    scheduler.setHolder('fast', 'replica', Bitmap.full(200));
    scheduler.setHolder('slow', 'replica', Bitmap.full(200));
    const duration: Record<string, number> = { fast: 10, slow: 100 };
    const pieces: Record<string, number> = {};
    runToEnd(
      scheduler,
      (flight) => duration[flight.holderId] ?? 1,
      ({ holderId }) => {
        pieces[holderId] = (pieces[holderId] ?? 0) + 1;
      },
    );
    expect(pieces['fast']).toBeGreaterThan(5 * (pieces['slow'] ?? 0));
  });

  test('asks a second holder for a late last piece, and cancels the loser before the piece is ready', () => {
    const scheduler = createScheduler(1, { stallMsMin: 60_000, stallUnmeasuredMs: 60_000 });
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    scheduler.setHolder('b', 'replica', Bitmap.full(1));
    const [first] = scheduler.nextRequests(0);
    expect(scheduler.nextRequests(1)).toEqual([]);
    const [second] = scheduler.nextRequests(5_000);
    expect(second?.piece).toBe(0);
    expect(second?.holderId).not.toBe(first?.holderId);
    if (first === undefined || second === undefined) throw new Error('two requests were expected');
    const won = scheduler.onArrived(second, 5_010);
    expect(won.cancel).toEqual([first]);
    expect(won.ready).toBeUndefined(); // the loser may still write
    const lost = scheduler.onFailed(first, 5_020, 'canceled');
    expect(lost.ready?.piece).toBe(0);
    expect(new Set(lost.ready?.holders)).toEqual(new Set(['a', 'b']));
  });

  test('reports a request without a byte as stalled, and asks elsewhere', () => {
    const scheduler = createScheduler(2, { holderPiecesMax: 1 });
    scheduler.setHolder('dead', 'replica', bitmapOf(2, [0]));
    scheduler.setHolder('alive', 'replica', Bitmap.full(2));
    const requests = scheduler.nextRequests(0);
    complete(
      scheduler,
      requests.find(({ holderId }) => holderId === 'alive'),
      10,
    );
    expect(scheduler.stalled(4_000)).toEqual([]);
    const [stalled] = scheduler.stalled(6_000);
    expect(stalled?.holderId).toBe('dead');
    if (stalled === undefined) throw new Error('a stalled request was expected');
    scheduler.onFailed(stalled, 6_001, 'stalled');
    expect(scheduler.nextRequests(6_002).map(({ holderId, piece }) => [holderId, piece])).toEqual([['alive', 0]]);
  });

  test('does not call stalled what makes headway', () => {
    const scheduler = createScheduler(1);
    scheduler.setHolder('slow', 'replica', Bitmap.full(1));
    scheduler.setHolder('other', 'gold', Bitmap.full(1));
    const [flight] = scheduler.nextRequests(0);
    if (flight === undefined) throw new Error('a request was expected');
    for (let nowMs = 0; nowMs < 30_000; nowMs += 1_000) {
      scheduler.onProgress(flight, nowMs / 100 + 1, nowMs);
      expect(scheduler.stalled(nowMs)).toEqual([]);
    }
  });

  test('gives a holder up after failures in a row', () => {
    const scheduler = createScheduler(1, { failuresMax: 3 });
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    const outcomes: boolean[] = [];
    for (let nowMs = 0; outcomes.length < 3; nowMs += 10_000) {
      const [flight] = scheduler.nextRequests(nowMs);
      if (flight === undefined) throw new Error('a request was expected');
      outcomes.push(scheduler.onFailed(flight, nowMs, 'failed').shouldGiveUp);
    }
    expect(outcomes).toEqual([false, false, true]);
  });

  test('never asks a banned holder again, even when it is added anew', () => {
    const scheduler = createScheduler(3);
    scheduler.setHolder('liar', 'replica', Bitmap.full(3));
    const flights = scheduler.nextRequests(0);
    expect(scheduler.ban('liar')).toEqual(flights);
    for (const flight of flights) scheduler.onFailed(flight, 1, 'canceled');
    scheduler.setHolder('liar', 'replica', Bitmap.full(3));
    expect(scheduler.nextRequests(10_000)).toEqual([]);
    expect(scheduler.verdict()).toEqual({ missing: [0, 1, 2] });
  });

  test('does not ask the writer of a wrong piece for it again', () => {
    const scheduler = createScheduler(1);
    scheduler.setHolder('a', 'replica', Bitmap.full(1));
    const [flight] = scheduler.nextRequests(0);
    if (flight === undefined) throw new Error('a request was expected');
    scheduler.onArrived(flight, 10);
    scheduler.onMismatch(0, ['a']);
    expect(scheduler.nextRequests(20)).toEqual([]);
    expect(scheduler.verdict()).toEqual({ missing: [0] });
    scheduler.addPiece('a', 0);
    expect(scheduler.nextRequests(30).length).toBe(1);
  });

  test('names missing pieces that nobody has', () => {
    const scheduler = createScheduler(4);
    scheduler.setHolder('a', 'replica', bitmapOf(4, [0]));
    scheduler.addPiece('a', 1);
    expect(scheduler.verdict()).toEqual({ missing: [2, 3] });
  });

  test('is complete without pieces', () => {
    expect(createScheduler(0).verdict()).toBe('complete');
    expect(createScheduler(0).nextRequests(0)).toEqual([]);
  });
});

/** Runs on virtual time until nothing is in flight and nothing more is asked. */
function runToEnd(
  scheduler: Scheduler,
  durationMs: (flight: Flight) => number,
  onArrived: (flight: Flight) => void = () => {},
): void {
  let nowMs = 0;
  const due: { readonly atMs: number; readonly flight: Flight }[] = [];
  const busyUntilMs = new Map<string, number>();
  for (;;) {
    for (const flight of scheduler.nextRequests(nowMs)) {
      const atMs = Math.max(nowMs, busyUntilMs.get(flight.holderId) ?? 0) + durationMs(flight);
      busyUntilMs.set(flight.holderId, atMs);
      due.push({ atMs, flight });
    }
    due.sort((a, b) => b.atMs - a.atMs);
    const next = due.pop();
    if (next === undefined) return;
    nowMs = next.atMs;
    if (next.flight.isCanceled) {
      const { ready } = scheduler.onFailed(next.flight, nowMs, 'canceled');
      if (ready !== undefined) scheduler.onVerified(ready.piece);
    } else {
      complete(scheduler, next.flight, nowMs);
      onArrived(next.flight);
    }
  }
}

/** What may happen to a download, step by step. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('arrive' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('fail' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wrong' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('ban' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('join' as const), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('gain' as const), pick: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('busy' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sent' as const), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), pick: fc.nat({ max: 20_000 }) }) },
);

/** Drives a scheduler through any events, as a session would, and checks what must always hold. */
class Model {
  readonly pieces: number;
  readonly scheduler: Scheduler;
  readonly options: { readonly piecesMax: number; readonly holderPiecesMax: number; readonly copiesMax: number };
  readonly flights = new Set<Flight>();
  readonly verified = new Set<number>();
  readonly banned = new Set<string>();
  readonly holders = ['gold', 'h1', 'h2', 'h3', 'h4'];
  nowMs = 0;

  constructor(pieces: number, seed: number) {
    this.pieces = pieces;
    this.options = { piecesMax: 6, holderPiecesMax: 3, copiesMax: 2 };
    this.scheduler = createScheduler(pieces, this.options, seed);
    this.scheduler.setHolder('gold', 'gold', Bitmap.full(pieces));
  }

  ask(): void {
    const missing = new Set(Array.from({ length: this.pieces }, (_, piece) => piece));
    for (const piece of this.verified) missing.delete(piece);
    for (const { piece } of this.flights) missing.delete(piece);
    for (const flight of this.scheduler.nextRequests(this.nowMs)) {
      const copies = [...this.flights].filter(({ piece }) => piece === flight.piece);
      assert(!this.verified.has(flight.piece));
      assert(!this.banned.has(flight.holderId));
      assert(copies.length < this.options.copiesMax);
      assert(copies.every(({ holderId }) => holderId !== flight.holderId));
      assert(copies.length === 0 || missing.size === 0); // only the endgame asks twice
      assert(flight.refuseWhen.queuedBytes > 0);
      assert(flight.refuseWhen.sentWithinMs === 0 || flight.holderId === 'gold');
      missing.delete(flight.piece);
      this.flights.add(flight);
    }
    assert(this.flights.size <= this.options.piecesMax);
    if (this.flights.size === 0 && this.scheduler.verdict() === 'running') assert(this.mayGoOn());
    for (const holder of this.holders) {
      const load = [...this.flights].filter(({ holderId, isCanceled }) => holderId === holder && !isCanceled).length;
      assert(load <= this.options.holderPiecesMax);
    }
  }

  /** When nothing is in flight nothing will happen by itself, so it must say when to look again. */
  mayGoOn(): boolean {
    return (this.scheduler.lookAgainMs ?? 0) > this.nowMs;
  }

  cancel(flights: readonly Flight[]): void {
    for (const flight of flights) assert(this.flights.has(flight));
    for (const flight of flights) this.end(flight, 'canceled');
  }

  end(flight: Flight, how: 'arrived' | 'wrong' | 'failed' | 'canceled' | 'stalled' | 'busy' | 'sent'): void {
    if (!this.flights.delete(flight)) return;
    const hasArrived = how === 'arrived' || how === 'wrong';
    const outcome = hasArrived
      ? this.scheduler.onArrived(flight, this.nowMs)
      : this.scheduler.onFailed(flight, this.nowMs, how);
    this.cancel(outcome.cancel);
    if (outcome.ready === undefined) return;
    assert([...this.flights].every(({ piece }) => piece !== flight.piece)); // nobody writes to it any more
    if (how === 'wrong') this.scheduler.onMismatch(outcome.ready.piece, outcome.ready.holders);
    else {
      this.scheduler.onVerified(outcome.ready.piece);
      this.verified.add(outcome.ready.piece);
    }
  }

  apply({ kind, pick }: { readonly kind: string; readonly pick: number }): void {
    const holder = this.holders[1 + (pick % (this.holders.length - 1))] ?? '';
    const flight = [...this.flights][pick % Math.max(1, this.flights.size)];
    this.nowMs += 10;
    if (flight !== undefined) this.endAs(kind, flight);
    if (kind === 'wait') this.nowMs += pick;
    this.changeHolder(kind, holder, pick);
    for (const stalled of this.scheduler.stalled(this.nowMs)) this.end(stalled, 'stalled');
  }

  endAs(kind: string, flight: Flight): void {
    if (kind === 'arrive') this.end(flight, flight.isCanceled ? 'canceled' : 'arrived');
    if (kind === 'fail') this.end(flight, 'failed');
    if (kind === 'wrong') this.end(flight, 'wrong');
    if (kind === 'busy') this.end(flight, flight.isCanceled ? 'canceled' : 'busy');
    if (kind === 'sent' && flight.refuseWhen.sentWithinMs > 0) this.end(flight, 'sent');
  }

  changeHolder(kind: string, holder: string, pick: number): void {
    if (kind === 'leave') this.cancel(this.scheduler.removeHolder(holder));
    if (kind === 'ban') {
      this.banned.add(holder);
      this.cancel(this.scheduler.ban(holder));
    }
    if (kind === 'join') {
      const some = Array.from({ length: this.pieces }, (_, piece) => piece).filter(
        (piece) => (piece * 7 + pick) % 3 === 0,
      );
      this.scheduler.setHolder(holder, 'replica', bitmapOf(this.pieces, some));
    }
    if (kind === 'gain') this.scheduler.addPiece(holder, (pick >>> 4) % this.pieces);
  }

  /** From here on the gold source is well and has everything. */
  finish(): void {
    this.scheduler.setHolder('gold', 'gold', Bitmap.full(this.pieces));
    for (let rounds = 20 * this.pieces + 200; rounds > 0 && this.verified.size < this.pieces; rounds--) {
      this.ask();
      if (this.flights.size === 0) this.nowMs = this.scheduler.lookAgainMs ?? this.nowMs;
      for (const flight of [...this.flights]) this.end(flight, flight.isCanceled ? 'canceled' : 'arrived');
      this.nowMs += 1_000;
    }
    expect(this.verified.size).toBe(this.pieces);
    expect(this.scheduler.verdict()).toBe('complete');
    expect(this.scheduler.piecesInFlight).toBe(0);
    expect(this.scheduler.piecesArrived).toBe(0);
  }
}

describe('Scheduler, whatever happens', () => {
  test('keeps its bounds and completes as soon as every piece has a working holder', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.nat(),
        fc.array(step, { maxLength: 120 }),
        (pieces, seed, steps) => {
          const model = new Model(pieces, seed);
          for (const one of steps) {
            model.ask();
            model.apply(one);
          }
          model.finish();
        },
      ),
      { numRuns: 300 },
    );
  });
});
