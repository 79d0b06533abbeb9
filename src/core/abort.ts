/**
 * Waits for `promise`, but no longer than `signal` allows. The work behind `promise` goes on; use
 * it only where that work writes to nothing of the caller's.
 *
 * @throws signal.reason When the signal fires first.
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => {}); // its failure must not become an unhandled rejection
    throw signal.reason;
  }
  let onAbort: () => void;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    // biome-ignore lint/style/noNonNullAssertion: assigned by the executor, which runs synchronously
    signal.removeEventListener('abort', onAbort!);
    promise.catch(() => {}); // the loser of the race must not become an unhandled rejection
  }
}

/** Waits `delayMs` of real time; holds the process, as any call under way does. Rejects with `signal.reason` on abort. */
export async function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await abortable(
      new Promise((resolve) => {
        timer = setTimeout(resolve, delayMs);
      }),
      signal,
    );
  } finally {
    clearTimeout(timer);
  }
}
