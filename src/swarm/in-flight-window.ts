/**
 * How many bytes a receiver should have asked for, of all sources together: what its links hold when nobody waits in a
 * queue. What is asked beyond that would only wait at its source, and would be bound to that source while another may
 * become free.
 *
 * It is rate times the least time that a piece takes, as TCP Vegas (Brakmo and Peterson, 1995) sizes its window.
 */

/** Old samples weigh this much less with each new one. */
const decay = 0.9;

export class InFlightWindow {
  #decayedBytes = 0;
  #decayedMs = 0;
  #lastMs: number | undefined;
  #leastMs = 0;

  /** Bytes that come in one ms, from all sources; undefined before the second piece. */
  get rate(): number | undefined {
    return this.#decayedMs === 0 ? undefined : this.#decayedBytes / this.#decayedMs;
  }

  /**
   * @param requestedMs - When the piece was asked for: the time before, when perhaps nothing was, says nothing of the rate.
   * @param leastMs - The least time that a piece from this source has taken from its request.
   */
  arrived(bytes: number, requestedMs: number, leastMs: number, nowMs: number): void {
    this.#leastMs = this.#lastMs === undefined ? leastMs : this.#leastMs * decay + leastMs * (1 - decay);
    if (this.#lastMs !== undefined) {
      this.#decayedBytes = this.#decayedBytes * decay + bytes;
      this.#decayedMs = this.#decayedMs * decay + Math.max(nowMs - Math.max(this.#lastMs, requestedMs), 0.01);
    }
    this.#lastMs = nowMs;
  }

  /** @param queueMs - Work to have ready beyond what is on the links, in ms. */
  bytes(queueMs: number): number {
    return (this.rate ?? 0) * (this.#leastMs + queueMs);
  }
}
