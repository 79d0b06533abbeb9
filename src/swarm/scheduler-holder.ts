import { backoffMs } from '../core/backoff.ts';
import type { RefuseWhen } from '../engine/transfer.ts';
import type { Bitmap } from './bitmap.ts';
import type { Random } from './random.ts';
import type { ResolvedSchedulerOptions } from './scheduler-options.ts';

/** One piece asked of one holder. What {@link Scheduler.nextRequests} hands out and the events hand back. */
export class Flight {
  readonly holder: Holder;
  readonly piece: number;
  readonly requestedMs: number;
  readonly refuseWhen: RefuseWhen;
  /** How long it should take, judged when it was asked. */
  readonly expectedMs: number;
  /** When bytes of it last came, and how many are here. */
  progressMs: number;
  progressBytes = 0;
  /** The caller was told to cancel it; what remains is that its memory becomes quiet. */
  isCanceled = false;

  constructor(parts: {
    readonly holder: Holder;
    readonly piece: number;
    readonly nowMs: number;
    readonly expectedMs: number;
    readonly refuseWhen: RefuseWhen;
  }) {
    this.holder = parts.holder;
    this.piece = parts.piece;
    this.requestedMs = parts.nowMs;
    this.progressMs = parts.nowMs;
    this.expectedMs = parts.expectedMs;
    this.refuseWhen = parts.refuseWhen;
  }

  get holderId(): string {
    return this.holder.id;
  }

  /** @param hasOthers - Whether somebody else could be asked. */
  isStalled(nowMs: number, hasOthers: boolean): boolean {
    const limitMs = this.holder.stallLimitMs();
    const stillMs = nowMs - this.progressMs;
    if (!hasOthers) return stillMs > limitMs * 4;
    return stillMs > limitMs || nowMs - this.requestedMs > limitMs * 8;
  }
}

/** One piece that is asked: by whom, and who may have written to its memory since it was last missing. */
export interface Ask {
  readonly flights: Set<Flight>;
  readonly writers: Set<string>;
  /** Who sent all of it first. */
  arrivedFrom: string | undefined;
}

/** Old samples weigh this much less with each new one: the mean reaches back about five pieces. */
const speedDecay = 0.8;
const leastGrowth = 1.005;
const busyFactorMax = 8;
/** Pieces in flight from one holder, of all who ask it together, until it proves able to take more. */
const piecesOfAllMax = 8;
/** Pieces that must come without a refusal in between before one more is asked for at once. */
const piecesPerStep = 24;

/** What the scheduler knows of one source: its pieces, its load, its speed and its sins. */
export class Holder {
  readonly id: string;
  readonly role: 'gold' | 'replica';
  readonly pieces: Bitmap;
  readonly flights: Map<number, Flight> = new Map<number, Flight>();
  inFlightBytes = 0;
  failures = 0;
  stalls = 0;
  /** Times in a row that it was busy with others. */
  busyInARow = 0;
  /** The least time that a piece has taken, in ms; grows slowly, because links change. */
  leastMs: number = Number.POSITIVE_INFINITY;
  /** Not asked before then. */
  retryAtMs = 0;
  /** Known to hold nothing of what is missing. */
  isExhausted = false;
  /** Pieces that came since it was last busy with others. */
  #takenInARow = 0;
  #decayedBytes = 0;
  #decayedMs = 0;
  #speed: number | undefined;
  #lastArrivalMs = Number.NEGATIVE_INFINITY;
  readonly #options: ResolvedSchedulerOptions;

  constructor(id: string, role: 'gold' | 'replica', pieces: Bitmap, options: ResolvedSchedulerOptions) {
    this.id = id;
    this.role = role;
    this.pieces = pieces;
    this.#options = options;
  }

  /** Measured bytes per millisecond; undefined before the first piece. */
  get speed(): number | undefined {
    return this.#speed;
  }

  /**
   * How many pieces to have in flight: one that is being sent, and enough behind it to bridge the time it takes to
   * notice and ask. More would only make each piece late, and a piece that is late serves nobody.
   *
   * A holder that others ask too has enough to send with a piece for each. Two receivers that ask for two each are served
   * in turn, so their first pieces come when the second ones do, and a third has nothing to pass on meanwhile. Only who is not
   * refused asks for more, step by step: the way there may be long.
   *
   * @param receivers - How many fetch the object now, this one included.
   */
  inFlightLimit(pieceBytes: number, receivers: number): number {
    const { holderPiecesMax, holderBytesMax, queueMs } = this.#options;
    const share = receivers === 1 ? holderPiecesMax : Math.min(holderPiecesMax, this.#shareAmong(receivers));
    if (this.speed === undefined) return Math.min(2, share);
    const pieceMs = pieceBytes / this.speed;
    const wanted = pieceMs > 20 * queueMs ? 1 : 1 + Math.ceil(queueMs / pieceMs);
    const allowed = Math.max(1, Math.min(share, Math.floor(holderBytesMax / pieceBytes)));
    return Math.min(wanted, allowed);
  }

  #shareAmong(receivers: number): number {
    return Math.max(1, Math.floor(piecesOfAllMax / receivers)) + Math.floor(this.#takenInARow / piecesPerStep);
  }

  canTake(pieceBytes: number, nowMs: number, receivers: number): boolean {
    if (this.retryAtMs > nowMs) return false;
    return this.flights.size === 0 || this.flights.size < this.inFlightLimit(pieceBytes, receivers);
  }

  begin(flight: Flight, pieceBytes: number): void {
    this.flights.set(flight.piece, flight);
    this.inFlightBytes += pieceBytes;
  }

  end(flight: Flight, pieceBytes: number): void {
    if (this.flights.get(flight.piece) !== flight) return;
    this.flights.delete(flight.piece);
    this.inFlightBytes -= pieceBytes;
  }

  /** Requests to one holder share its link, so time counts from the arrival before, not from the request. */
  arrived(flight: Flight, pieceBytes: number, nowMs: number): void {
    const elapsedMs = Math.max(nowMs - Math.max(flight.requestedMs, this.#lastArrivalMs), 0.01);
    this.#decayedBytes = this.#decayedBytes * speedDecay + pieceBytes;
    this.#decayedMs = this.#decayedMs * speedDecay + elapsedMs;
    this.#speed = this.#decayedBytes / this.#decayedMs;
    this.#lastArrivalMs = nowMs;
    this.leastMs = Math.min(nowMs - flight.requestedMs, this.leastMs * leastGrowth);
    this.failures = 0;
    this.stalls = 0;
    this.busyInARow = 0;
    this.#takenInARow++;
  }

  /**
   * It has enough to do for others: leaves it alone for about the time in which it could have sent a piece, longer each time, and
   * by chance, so that those whom it refused do not all come back at once.
   */
  wasBusy(nowMs: number, pieceMs: number, random: Random): void {
    const waitMs = pieceMs * Math.min(2 ** this.busyInARow, busyFactorMax) * (0.5 + random());
    this.busyInARow++;
    this.#takenInARow = 0;
    this.retryAtMs = nowMs + waitMs;
  }

  failed(nowMs: number): void {
    this.failures++;
    this.retryAtMs = nowMs + backoffMs(this.failures - 1, { firstMs: 100, maxMs: 5_000 }, () => 1);
  }

  /** Nothing came for far too long: counts as that much time without a byte, and waits before the next try. */
  stalled(flight: Flight, nowMs: number): void {
    this.stalls++;
    if (this.#speed !== undefined) {
      this.#decayedMs += nowMs - flight.requestedMs;
      this.#speed = this.#decayedBytes / this.#decayedMs;
    }
    this.retryAtMs = nowMs + backoffMs(this.stalls, { firstMs: 1_000, maxMs: 30_000 }, () => 1);
  }

  /** Without a byte for how long a request counts as stalled. Doubles each time, for links slower than we guess. */
  stallLimitMs(): number {
    const { stallMsMin, stallUnmeasuredMs, stallFactor } = this.#options;
    const base =
      this.speed === undefined
        ? stallUnmeasuredMs
        : Math.max(stallMsMin, (stallFactor * this.inFlightBytes) / this.speed);
    return base * 2 ** Math.min(this.stalls, 6);
  }
}
