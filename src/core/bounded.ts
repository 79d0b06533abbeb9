/**
 * Runs `work` for every item, at most `limit` at a time.
 *
 * The first failure aborts the signal that the others got; once all have ended, it is thrown.
 *
 * @param limit - Items in work at once, 1 or more.
 */
export async function forEachBounded<T>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failure = new AbortController();
  const both = AbortSignal.any([signal, failure.signal]);
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) {
      both.throwIfAborted();
      try {
        await work(item, both);
      } catch (error) {
        failure.abort(error);
        throw error;
      }
    }
  };
  await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  signal.throwIfAborted();
  failure.signal.throwIfAborted();
}
