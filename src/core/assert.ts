/** A broken invariant of ours, never a caller's mistake: those are `P2P_INVALID_ARGUMENT`. */
class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: unknown, message = 'invariant does not hold'): asserts condition {
  if (!condition) throw new AssertionError(message);
}
