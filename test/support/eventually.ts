import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits until `check` returns something true, and returns that. The deadline is for what never happens: on a busy machine of two
 * cores the start of a process alone may take ten seconds. Give a shorter one only where it is itself what is tested.
 *
 * @param what - Says what was waited for when the deadline passes.
 */
export async function eventually<T>(
  what: string,
  check: () => T | Promise<T>,
  { deadlineMs = 30_000, pollMs = 20 }: { readonly deadlineMs?: number; readonly pollMs?: number } = {},
): Promise<NonNullable<T>> {
  const endsAtMs = performance.now() + deadlineMs;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (performance.now() > endsAtMs) throw new Error(`Cannot go on: ${what} did not happen within ${deadlineMs} ms`);
    await delay(pollMs);
  }
}
