/**
 * One rate limit of one engine: a budget in shared memory from which all I/O workers take, whatever the main thread is
 * doing. It answers two questions under one short lock.
 *
 * When may the next bytes go? Two clocks each say until when the bytes granted so far are paid for. The sustained one runs at
 * the limit and lets up to {@link CATCH_UP_MS} be made up for, as timers come late. The short one runs {@link HEADROOM} above
 * the limit and saves up no more than {@link BURST_MS}; so whatever has to be made up for, no three seconds pass more
 * than 5 % above the limit.
 *
 * Whose bytes are they? Start-time fair queueing: the bytes of a flow start, in virtual time, where those before them ended,
 * or now if the flow was away. Of the flows that wait the one with the least start goes first. So flows that want more
 * than their share get equal ones, a flow that wants less gets all it wants, one alone gets everything,
 * and nobody is owed for the time in which it wanted nothing.
 */
import { assert } from '../../core/assert.ts';

/** A limit as it is handed to worker threads. */
export interface RateLimit {
  /** Above 0. */
  readonly bytesPerSecond: number;
  readonly shared: SharedArrayBuffer;
}

const CATCH_UP_MS = 500;
const HEADROOM = 1.02;
const BURST_MS = 80;
/** Who asks for nothing this long is not late, but idle: there is nothing to make up for. */
const IDLE_MS = 250;
/** A flow that was told to wait and does not come back, as its transfer was canceled, holds the others up no longer than this. */
const ABSENT_MS = 100;
/** Flows may be this far from their order, so that one whose timer is late does not stop the others. */
const SLACK_MS = 10;
/** Who got bytes less than this ago is about to ask again: virtual time must not run ahead of it. */
const BACK_SOON_MS = 20;
const MIN_WAIT_MS = 1;

/** Time worth of bytes that move at once. */
const CHUNK_MS = 4;
const CHUNK_STEP_BYTES = 4096;

/** Flows that are told apart; more share the last places. */
const MAX_FLOWS = 64;
const PAGE_BYTES = 4096;
const LOCK_BYTES = 8;
const SPINS = 100;
const LOCK_WAIT_MS = 1;

/** Fields of the limit, and where the flows begin. */
const SUSTAINED = 0;
const SHORT = 1;
const ASKED = 2;
const VIRTUAL = 3;
const COUNT = 4;
const FLOWS = 5;
/** Fields of one flow: its id; where its next bytes start in virtual time, in bytes; until when it counts as waiting, and as here. */
const ID = 0;
const START = 1;
const WAITING_UNTIL = 2;
const HERE_UNTIL = 3;
const FLOW_FIELDS = 4;

export function createRateLimit(bytesPerSecond: number): RateLimit {
  assert(bytesPerSecond > 0 && Number.isFinite(bytesPerSecond), 'a rate limit is above 0');
  const floats = FLOWS + MAX_FLOWS * FLOW_FIELDS;
  return { bytesPerSecond, shared: new SharedArrayBuffer(LOCK_BYTES + floats * Float64Array.BYTES_PER_ELEMENT) };
}

/**
 * How many bytes to move at once under a limit: 4 ms worth of it, in steps of 4 KiB.
 *
 * @param minBytes - Both bounds are multiples of 4 KiB.
 */
export function chunkBytes(bytesPerSecond: number, minBytes: number, maxBytes: number): number {
  const steps = Math.floor((bytesPerSecond * CHUNK_MS) / 1000 / CHUNK_STEP_BYTES);
  return Math.min(maxBytes, Math.max(minBytes, steps * CHUNK_STEP_BYTES));
}

/** One thread's handle on a {@link RateLimit}. */
export class RateLimiter {
  readonly bytesPerSecond: number;
  readonly #lock: Int32Array<SharedArrayBuffer>;
  readonly #state: Float64Array<SharedArrayBuffer>;

  constructor({ bytesPerSecond, shared }: RateLimit) {
    this.bytesPerSecond = bytesPerSecond;
    this.#lock = new Int32Array(shared, 0, 1);
    this.#state = new Float64Array(shared, LOCK_BYTES);
  }

  /**
   * Takes `bytes` for a flow, all or nothing.
   *
   * @param flow - Who shares the limit: those of one number are one.
   * @param nowMs - CLOCK_MONOTONIC, the same in all threads.
   * @returns 0 when they were taken, else the milliseconds after which to ask again; the flow keeps its turn if it does.
   */
  take(flow: number, bytes: number, nowMs: number): number {
    this.#acquire();
    try {
      return this.#take(flow, bytes, nowMs);
    } finally {
      this.#release();
    }
  }

  #take(flow: number, bytes: number, nowMs: number): number {
    const freeMs = this.#advance(nowMs);
    const { at, leastWaiting, leastHere } = this.#place(flow, nowMs);
    const virtual = this.#get(VIRTUAL);
    const isHere = this.#get(at + HERE_UNTIL) > nowMs;
    const start = isHere ? this.#get(at + START) : Math.max(virtual, this.#get(at + START));
    const slackBytes = (this.bytesPerSecond * SLACK_MS) / 1000;
    if (freeMs > nowMs || start > leastWaiting + slackBytes) {
      const waitMs = Math.max(MIN_WAIT_MS, freeMs - nowMs);
      this.#state[at + START] = start;
      this.#state[at + WAITING_UNTIL] = nowMs + waitMs + ABSENT_MS;
      this.#state[at + HERE_UNTIL] = nowMs + waitMs + ABSENT_MS;
      return waitMs;
    }
    const paidMs = (bytes / this.bytesPerSecond) * 1000;
    this.#state[SUSTAINED] = this.#get(SUSTAINED) + paidMs;
    this.#state[SHORT] = this.#get(SHORT) + paidMs / HEADROOM;
    this.#state[VIRTUAL] = Math.max(virtual, Math.min(start, leastHere));
    this.#state[at + START] = start + bytes;
    this.#state[at + WAITING_UNTIL] = 0;
    this.#state[at + HERE_UNTIL] = nowMs + BACK_SOON_MS;
    return 0;
  }

  /** Forgets what is too old to be made up for. Returns when both clocks allow the next bytes. */
  #advance(nowMs: number): number {
    const isIdle = nowMs - this.#get(ASKED) > IDLE_MS;
    const sustained = Math.max(this.#get(SUSTAINED), isIdle ? nowMs : nowMs - CATCH_UP_MS);
    const short = Math.max(this.#get(SHORT), nowMs - BURST_MS);
    this.#state[ASKED] = nowMs;
    this.#state[SUSTAINED] = sustained;
    this.#state[SHORT] = short;
    return Math.max(sustained, short);
  }

  /** Where a flow's fields are, and the least start among the others that wait, and that are here. */
  #place(flow: number, nowMs: number): { at: number; leastWaiting: number; leastHere: number } {
    const count = this.#get(COUNT);
    let leastWaiting = Number.POSITIVE_INFINITY;
    let leastHere = Number.POSITIVE_INFINITY;
    let own: number | undefined;
    let spare: number | undefined;
    for (let index = 0; index < count; index++) {
      const at = FLOWS + index * FLOW_FIELDS;
      const start = this.#get(at + START);
      if (this.#get(at + ID) === flow) own = at;
      else if (this.#get(at + HERE_UNTIL) > nowMs) {
        leastHere = Math.min(leastHere, start);
        if (this.#get(at + WAITING_UNTIL) > nowMs) leastWaiting = Math.min(leastWaiting, start);
      } else if (start <= this.#get(VIRTUAL)) spare = at; // as good as one that was never here
    }
    return { at: own ?? this.#open(flow, spare), leastWaiting, leastHere };
  }

  #open(flow: number, spare: number | undefined): number {
    const count = this.#get(COUNT);
    if (spare === undefined && count === MAX_FLOWS) {
      return FLOWS + (Math.floor(flow / PAGE_BYTES) % MAX_FLOWS) * FLOW_FIELDS;
    }
    const at = spare ?? FLOWS + count * FLOW_FIELDS;
    if (spare === undefined) this.#state[COUNT] = count + 1;
    this.#state.set([flow, 0, 0, 0], at);
    return at;
  }

  #get(at: number): number {
    return this.#state[at] ?? 0;
  }

  /** Held for about a microsecond, so waiting is rare. */
  #acquire(): void {
    for (let tries = 0; Atomics.compareExchange(this.#lock, 0, 0, 1) !== 0; tries++) {
      if (tries >= SPINS) Atomics.wait(this.#lock, 0, 1, LOCK_WAIT_MS);
    }
  }

  #release(): void {
    Atomics.store(this.#lock, 0, 0);
    Atomics.notify(this.#lock, 0, 1);
  }
}
