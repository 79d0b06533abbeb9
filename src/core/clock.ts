/** The only source of time for code whose behaviour depends on it, so that tests can move it. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary start; fractions allowed. */
  nowMs(): number;
  /** Runs `callback` once after `delayMs`; the timer does not hold the process. Returns its cancel. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
