import type { Clock } from '../../../core/clock.ts';
import { chunkBytes, type RateLimiter } from '../rate-limiter.ts';

/** One connection's place under a limit, for one flow. */
export class PaceTicket {
  flow: number;
  /** Called: it was its turn, and it has not asked since. */
  state: 'free' | 'parked' | 'called' = 'free';
  readonly wake: () => void;

  constructor(flow: number, wake: () => void) {
    this.flow = flow;
    this.wake = wake;
  }

  get isParked(): boolean {
    return this.state === 'parked';
  }
}

/** Payload that moves at once under a limit. */
const CHUNK_BYTES_MIN = 4 * 1024;
const CHUNK_BYTES_MAX = 256 * 1024;
/** A turn that nobody used, as its transfer was canceled, is given to the next after this time. */
const UNUSED_TURN_MS = 20;

/**
 * What the connections of one worker ask before they move bytes under a limit. Those that have to wait stand in line, one
 * line a flow, and are woken in turn when the limit allows; so a limit with a thousand connections costs no more wake-ups
 * than one with as many flows.
 */
export class Pacer {
  /** How much to ask for at once. */
  readonly chunkBytes: number;
  readonly #limiter: Pick<RateLimiter, 'take' | 'bytesPerSecond'>;
  readonly #clock: Clock;
  readonly #lines = new Map<number, PaceTicket[]>();
  #cancelTimer: () => void = () => {};
  #timerMs: number = Number.POSITIVE_INFINITY;

  constructor(limiter: Pick<RateLimiter, 'take' | 'bytesPerSecond'>, clock: Clock) {
    this.#limiter = limiter;
    this.chunkBytes = chunkBytes(limiter.bytesPerSecond, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
    this.#clock = clock;
  }

  /**
   * Whether `bytes` may move now. If not, the ticket is parked, and its `wake` is called when to ask again;
   * until then asking changes nothing.
   */
  take(ticket: PaceTicket, bytes: number): boolean {
    if (ticket.state === 'parked') return false;
    const isCalled = ticket.state === 'called';
    const line = this.#lines.get(ticket.flow);
    if (line !== undefined && !isCalled) {
      ticket.state = 'parked';
      line.push(ticket);
      return false;
    }
    const waitMs = this.#limiter.take(ticket.flow, bytes, this.#clock.nowMs());
    if (waitMs > 0) {
      ticket.state = 'parked';
      if (line === undefined) this.#lines.set(ticket.flow, [ticket]);
      else line.unshift(ticket);
      this.#arm(waitMs);
      return false;
    }
    ticket.state = 'free';
    this.#callNext(ticket.flow);
    return true;
  }

  /** Takes a ticket out of its line; it may be used again. */
  leave(ticket: PaceTicket): void {
    const line = this.#lines.get(ticket.flow);
    const rest = ticket.isParked ? line?.filter((other) => other !== ticket) : line;
    ticket.state = 'free';
    if (rest === undefined) return;
    if (rest.length > 0) this.#lines.set(ticket.flow, rest);
    else this.#lines.delete(ticket.flow);
  }

  #callNext(flow: number): void {
    const line = this.#lines.get(flow);
    const next = line?.shift();
    if (line?.length === 0) this.#lines.delete(flow);
    if (next === undefined) return;
    next.state = 'called';
    if (this.#lines.size > 0) this.#arm(UNUSED_TURN_MS);
    next.wake();
  }

  #arm(delayMs: number): void {
    const atMs = this.#clock.nowMs() + delayMs;
    if (atMs >= this.#timerMs) return;
    this.#cancelTimer();
    this.#timerMs = atMs;
    this.#cancelTimer = this.#clock.after(Math.ceil(delayMs), () => this.#onTimer());
  }

  #onTimer(): void {
    this.#timerMs = Number.POSITIVE_INFINITY;
    for (const flow of [...this.#lines.keys()]) this.#callNext(flow);
  }

  close(): void {
    this.#cancelTimer();
    this.#lines.clear();
  }
}
