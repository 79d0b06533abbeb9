/** The only source of time for code whose behaviour depends on it, so that tests can move it. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary start, with fractions. */
  nowMs(): number;
  /** Runs `callback` once after `delayMs`; the timer does not hold the process. Returns its cancel. */
  after(delayMs: number, callback: () => void): () => void;
}

/**
 * CLOCK_MONOTONIC: all processes of a machine read the same, so a time that one wrote down means
 * something to another. It goes on while a process is stopped, stands still while the machine is suspended, and
 * nobody can set it.
 */
export const systemClock: Clock = {
  nowMs: () => Number(process.hrtime.bigint()) / 1e6,
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
