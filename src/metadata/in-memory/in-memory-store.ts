import { type Clock, systemClock } from '../../core/clock.ts';
import { checkFromRevision, checkPrefix } from '../commit-check.ts';
import type { Watch, WatchEvent, WatchOptions } from '../metadata-store.ts';
import { SynchronousStore } from '../synchronous-store.ts';
import { MemoryState } from './memory-state.ts';

const states = new Map<string, MemoryState>();

/**
 * A metadata store in this process's memory, for tests and experiments. Stores opened with the same
 * URI share their data until the process ends; nothing is shared between processes.
 */
export class InMemoryMetadataStore extends SynchronousStore {
  readonly #state: MemoryState;
  readonly #watches = new Set<Watch>();

  /** @param clock - Moves the leases. The first open of a URI decides. */
  constructor(uri: string, clock: Clock = systemClock) {
    const state = states.get(uri) ?? new MemoryState(clock);
    states.set(uri, state);
    super(uri, state);
    this.#state = state;
  }

  override watch(prefix: string, options: WatchOptions): Promise<Watch> {
    return this.call(undefined, () => {
      checkPrefix(prefix);
      checkFromRevision(options.fromRevision);
      const watch = openWatch(this.#state, prefix, options, () => this.#watches.delete(watch));
      this.#watches.add(watch);
      return watch;
    });
  }

  /** Forgets the history of changes, so that a watch that asks for the past gets `onReset`; for tests. */
  compact(): void {
    this.#state.compact();
  }

  override async close(): Promise<void> {
    await this.gate.close();
    await Promise.all([...this.#watches].map((watch) => watch.close()));
  }
}

/** Delivers in a later turn than the change, so that a commit never runs a watcher's code. */
function openWatch(state: MemoryState, prefix: string, options: WatchOptions, onClose: () => void): Watch {
  let nextRevision = options.fromRevision;
  let scheduled: NodeJS.Immediate | undefined;

  const deliver = (): void => {
    scheduled = undefined;
    const since = state.eventsSince(nextRevision);
    if (since === undefined) {
      const { entries, revision } = state.list(prefix);
      nextRevision = revision + 1n;
      options.onReset(entries, revision);
      return;
    }
    if (since.revision < nextRevision) return; // starts in the future
    nextRevision = since.revision + 1n;
    const events = since.events.filter((event) => eventKey(event).startsWith(prefix));
    if (events.length > 0) options.onEvents(events);
  };
  const schedule = (): void => {
    scheduled ??= setImmediate(deliver);
  };
  const removeListener = state.onChange(schedule);
  schedule();
  const close = async (): Promise<void> => {
    removeListener();
    clearImmediate(scheduled);
    onClose();
  };
  return { close, [Symbol.asyncDispose]: close };
}

function eventKey(event: WatchEvent): string {
  return event.kind === 'put' ? event.entry.key : event.key;
}
