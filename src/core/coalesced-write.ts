/** Runs one write at a time; all who ask while one runs share the next, which carries what they changed. */
export class CoalescedWrite {
  readonly #write: () => Promise<void>;
  #running: Promise<void> | undefined;
  #queued: Promise<void> | undefined;

  constructor(write: () => Promise<void>) {
    this.#write = write;
  }

  /** Resolves when a write that began after this call has ended. */
  run(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#write().finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#queued ??= this.#running
      .catch(() => {}) // its own callers hear of it
      .then(() => {
        this.#queued = undefined;
        return this.run();
      });
    return this.#queued;
  }
}
