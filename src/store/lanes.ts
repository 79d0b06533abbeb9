/** Runs `work` for every item, at most `limit` at a time. Resolves when all have ended; failures are the work's business. */
export async function inLanes<T>(items: Iterable<T>, limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) await work(next.value);
  };
  await Promise.allSettled(Array.from({ length: limit }, lane));
}
