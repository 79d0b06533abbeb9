/**
 * Whether one path may be used, and when a lost one is tried again. No clock, no sockets: whoever drives it says what
 * happened and when.
 *
 *   new ----proven----> up ---fault---> held ---proven by a probe---> up
 *     `--fault--> held   `--card down--> down --card up--> held
 *
 * A path that fails soon after it was taken back is held back longer each time, up to half a minute. A probe that fails
 * does not lengthen that: while the cable is out nobody knows when it is put in again.
 */
import { backoffMs } from '../../core/backoff.ts';

/** `new`: never used. `up`: carries bytes. `held`: waits for its next probe. `down`: its card is down. */
export type PathState = 'new' | 'up' | 'held' | 'down';

const HOLD_BACK = { firstMs: 500, maxMs: 30_000 };
/** A path that was up for so long has paid for its faults before. */
const STEADY_MS = 10_000;
const PROBE_EVERY_MIN_MS = 500;
/** While it is sure that the path exists. */
const PROBE_EVERY_MAX_MS = 2000;
/** A path that never worked may be none at all. */
const PROBE_NEW_EVERY_MAX_MS = 30_000;
/** Probes become rarer: the next one comes after this part of the time that the path has been lost. */
const PROBE_SHARE = 10;

export class PathHealth {
  readonly #random: () => number;
  #state: PathState = 'new';
  #faults = 0;
  #lastFault: string | undefined;
  #heldUntilMs = 0;
  #hasWorked = false;
  /** Times in a row that it failed soon after it was taken back. */
  #flaps = 0;
  #upSinceMs = 0;
  #lostSinceMs: number | undefined;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  get state(): PathState {
    return this.#state;
  }

  get faults(): number {
    return this.#faults;
  }

  get lastFault(): string | undefined {
    return this.#lastFault;
  }

  /** No probe before then, on the caller's clock; 0 when it is not held back. */
  get heldUntilMs(): number {
    return this.#state === 'held' || this.#state === 'down' ? this.#heldUntilMs : 0;
  }

  mayBeProbed(nowMs: number): boolean {
    return this.#state === 'new' || (this.#state === 'held' && nowMs >= this.#heldUntilMs);
  }

  /** Bytes of the right peer came over it. */
  onProven(nowMs: number): void {
    if (this.#state === 'up') return;
    this.#state = 'up';
    this.#hasWorked = true;
    this.#upSinceMs = nowMs;
    this.#lostSinceMs = undefined;
  }

  /** It failed in use, or a probe of it did. */
  onFault(reason: string, nowMs: number): void {
    this.#note(reason, nowMs);
    this.#state = 'held';
  }

  onCardDown(reason: string, nowMs: number): void {
    if (this.#state === 'down') return;
    this.#note(reason, nowMs);
    this.#state = 'down';
  }

  /** Its card is back; the hold-back, if any is left, still counts. */
  onCardUp(): void {
    if (this.#state === 'down') this.#state = 'held';
  }

  #note(reason: string, nowMs: number): void {
    this.#faults += 1;
    this.#lastFault = reason;
    if (this.#state === 'up') {
      this.#flaps = nowMs - this.#upSinceMs >= STEADY_MS ? 0 : this.#flaps + 1;
      this.#heldUntilMs = nowMs + backoffMs(this.#flaps, HOLD_BACK, this.#random);
    }
    this.#lostSinceMs ??= nowMs;
    const maxMs = this.#hasWorked ? PROBE_EVERY_MAX_MS : PROBE_NEW_EVERY_MAX_MS;
    const everyMs = Math.max(PROBE_EVERY_MIN_MS, Math.min(maxMs, (nowMs - this.#lostSinceMs) / PROBE_SHARE));
    this.#heldUntilMs = Math.max(this.#heldUntilMs, nowMs + everyMs);
  }
}
