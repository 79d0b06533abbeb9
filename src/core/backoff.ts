/** Exponential delay with full jitter, so that many nodes that fail together do not retry together. */
export interface BackoffOptions {
  /** Upper bound of the first delay, in ms. */
  readonly firstMs: number;
  /** Upper bound of every delay, in ms. */
  readonly maxMs: number;
}

/**
 * Computes how long to wait before attempt `attempt + 1`.
 *
 * @param attempt - Failures so far, 0 for the first.
 * @returns Milliseconds in [bound / 2, bound], bound = min(maxMs, firstMs * 2^attempt).
 */
export function backoffMs(
  attempt: number,
  { firstMs, maxMs }: BackoffOptions,
  random: () => number = Math.random,
): number {
  const bound = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return bound / 2 + (random() * bound) / 2;
}
