/**
 * One listener for each signal, however many callbacks hang on it: thousands of pieces share the signal of one transfer, and
 * the runtime warns of a leak above ten listeners.
 */
export class AbortListeners {
  readonly #groups = new Map<AbortSignal, { readonly callbacks: Set<() => void>; readonly listener: () => void }>();

  /** @param signal - Not aborted yet. */
  add(signal: AbortSignal, callback: () => void): void {
    let group = this.#groups.get(signal);
    if (group === undefined) {
      const callbacks = new Set<() => void>();
      const listener = (): void => {
        this.#groups.delete(signal);
        for (const each of callbacks) each();
      };
      group = { callbacks, listener };
      this.#groups.set(signal, group);
      signal.addEventListener('abort', listener, { once: true });
    }
    group.callbacks.add(callback);
  }

  remove(signal: AbortSignal, callback: () => void): void {
    const group = this.#groups.get(signal);
    if (group === undefined) return;
    group.callbacks.delete(callback);
    if (group.callbacks.size > 0) return;
    this.#groups.delete(signal);
    signal.removeEventListener('abort', group.listener);
  }
}
