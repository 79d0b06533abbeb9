import { backoffMs } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';

const RETRY = { firstMs: 500, maxMs: 10_000 };
/** Names in work at once: a store with thousands of objects must not flood the metadata store. */
const LANES = 4;

/** Works on names: each as often as it was marked since, one at a time, and again later when that fails. */
export class MirrorQueue {
  readonly #work: (name: string) => Promise<void>;
  readonly #clock: Clock;
  readonly #marked = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, () => void>();
  #isClosed = false;

  /** @param work - Rejects when it is to be tried again. */
  constructor(work: (name: string) => Promise<void>, clock: Clock) {
    this.#work = work;
    this.#clock = clock;
  }

  mark(name: string): void {
    if (this.#isClosed) return;
    this.#marked.add(name);
    this.#pump();
  }

  /** Resolves when a name has been worked on since it was last marked, well or badly. */
  async settled(name: string): Promise<void> {
    while (!this.#isClosed && (this.#marked.has(name) || this.#running.has(name))) await this.#next();
  }

  /** {@link settled} for all names. */
  async drained(): Promise<void> {
    while (!this.#isClosed && this.#running.size > 0) await this.#next();
  }

  /** Starts nothing any more. Resolves when nothing runs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const cancel of this.#timers.values()) cancel();
    await Promise.all(this.#running.values());
  }

  async #next(): Promise<void> {
    await Promise.race(this.#running.values());
  }

  #pump(): void {
    for (const name of this.#marked) {
      if (this.#isClosed || this.#running.size >= LANES) return;
      if (this.#running.has(name)) continue;
      this.#marked.delete(name);
      this.#running.set(name, this.#run(name));
    }
  }

  async #run(name: string): Promise<void> {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
    try {
      await this.#work(name);
      this.#failures.delete(name);
    } catch {
      const failures = this.#failures.get(name) ?? 0;
      this.#failures.set(name, failures + 1);
      if (!this.#isClosed) {
        this.#timers.set(
          name,
          this.#clock.after(backoffMs(failures, RETRY), () => this.mark(name)),
        );
      }
    }
    this.#running.delete(name);
    this.#pump();
  }
}
