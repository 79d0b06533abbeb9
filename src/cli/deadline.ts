/** The signal of work that ends at an interruption, or after some time. Dispose it when the work has ended. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Opens a deadline. Not made of `AbortSignal.any` and `AbortSignal.timeout`: what Node 20 makes of the two may be
 * collected as garbage before it fires.
 *
 * @param timeoutMs - undefined: only `parent` ends the work.
 */
export function openDeadline(parent: AbortSignal, timeoutMs: number | undefined): Deadline {
  const controller = new AbortController();
  const onParent = (): void => controller.abort(parent.reason);
  if (parent.aborted) onParent();
  else parent.addEventListener('abort', onParent, { once: true });
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          controller.abort(new DOMException(`Cannot finish: ${timeoutMs / 1000} s have passed`, 'TimeoutError'));
        }, timeoutMs);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      parent.removeEventListener('abort', onParent);
    },
  };
}
