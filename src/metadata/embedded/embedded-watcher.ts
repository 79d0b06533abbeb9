import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Watch, WatchOptions } from '../metadata-store.ts';
import type { EmbeddedState } from './embedded-state.ts';

/** How often the file is looked at while a watch is open. One look without news costs a few microseconds. */
const POLL_MS = 20;
/** Ended leases are looked for every so many polls: 100 ms, as long as a look at a process is believed. */
const POLLS_PER_PURGE = 5;

interface OpenWatch {
  readonly prefix: string;
  readonly options: WatchOptions;
  nextRevision: bigint;
}

/** Serves all watches of one store by polling the revision; LMDB has no notification across processes. */
export class EmbeddedWatcher {
  readonly #state: EmbeddedState;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #uri: string;
  readonly #watches = new Set<OpenWatch>();
  #cancelTimer: (() => void) | undefined;
  #polls = 0;

  constructor(state: EmbeddedState, clock: Clock, logger: Logger, uri: string) {
    this.#state = state;
    this.#clock = clock;
    this.#logger = logger;
    this.#uri = uri;
  }

  open(prefix: string, options: WatchOptions): Watch {
    const watch: OpenWatch = { prefix, options, nextRevision: options.fromRevision };
    this.#watches.add(watch);
    if (this.#cancelTimer === undefined) this.#schedule();
    const close = async (): Promise<void> => {
      this.#watches.delete(watch);
      if (this.#watches.size === 0) this.close();
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  close(): void {
    this.#watches.clear();
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(): void {
    this.#cancelTimer = this.#clock.after(POLL_MS, () => {
      this.#cancelTimer = undefined;
      try {
        this.#poll();
      } catch (error) {
        this.#logger.warn({ uri: this.#uri, error }, 'metadata watch failed');
      }
      // A callback may have closed the last watch, or opened another.
      if (this.#watches.size > 0 && this.#cancelTimer === undefined) this.#schedule();
    });
  }

  #poll(): void {
    this.#polls += 1;
    if (this.#polls % POLLS_PER_PURGE === 0) this.#state.purge();
    const revision = this.#state.revision();
    for (const watch of this.#watches) {
      if (watch.nextRevision <= revision) this.#deliver(watch);
    }
  }

  #deliver(watch: OpenWatch): void {
    const since = this.#state.eventsSince(watch.nextRevision);
    if (since === undefined) {
      const { entries, revision } = this.#state.list(watch.prefix);
      watch.nextRevision = revision + 1n;
      watch.options.onReset(entries, revision);
      return;
    }
    watch.nextRevision = since.revision + 1n;
    const events = since.events.filter((event) =>
      (event.kind === 'put' ? event.entry.key : event.key).startsWith(watch.prefix),
    );
    if (events.length > 0) watch.options.onEvents(events);
  }
}
