const settled = Promise.resolve();

/**
 * Runs a callback once the caller is through, and before the event loop does anything else; for paths where `queueMicrotask`,
 * which makes an async resource for each call, costs too much.
 *
 * @param callback - What it throws ends the process, as with `queueMicrotask`.
 */
export function soon(callback: () => void): void {
  void settled.then(callback);
}
