import { type Clock, systemClock } from '../../core/clock.ts';
import { Gate } from '../../core/gate.ts';
import { checkCommit, checkFromRevision, checkKey, checkLeaseTtl, checkPrefix, parseLeaseId } from '../commit-check.ts';
import type {
  CallOptions,
  Condition,
  Entry,
  MetadataStore,
  Watch,
  WatchEvent,
  WatchOptions,
  Write,
} from '../metadata-store.ts';
import { MemoryState } from './memory-state.ts';

const states = new Map<string, MemoryState>();

/**
 * A metadata store in this process's memory, for tests and experiments. Stores opened with the same
 * URI share their data until the process ends; nothing is shared between processes.
 */
export class InMemoryMetadataStore implements MetadataStore {
  readonly uri: string;
  readonly #state: MemoryState;
  readonly #gate: Gate;
  readonly #watches = new Set<Watch>();

  /** @param clock - Moves the leases. The first open of a URI decides. */
  constructor(uri: string, clock: Clock = systemClock) {
    this.uri = uri;
    this.#gate = new Gate(`metadata store ${uri}`);
    const state = states.get(uri) ?? new MemoryState(clock);
    states.set(uri, state);
    this.#state = state;
  }

  get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    return this.#call(options, () => {
      checkKey(key);
      return this.#state.get(key);
    });
  }

  list(
    prefix: string,
    options?: CallOptions & { readonly keysOnly?: boolean },
  ): Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }> {
    return this.#call(options, () => {
      checkPrefix(prefix);
      const { entries, revision } = this.#state.list(prefix);
      if (options?.keysOnly !== true) return { entries, revision };
      return { entries: entries.map((entry) => ({ ...entry, value: new Uint8Array() })), revision };
    });
  }

  commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    options?: CallOptions,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    return this.#call(options, () => {
      checkCommit(conditions, writes);
      return this.#state.commit(conditions, writes);
    });
  }

  grantLease(ttlMs: number, options?: CallOptions): Promise<string> {
    return this.#call(options, () => {
      checkLeaseTtl(ttlMs);
      return this.#state.grantLease(ttlMs);
    });
  }

  keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<number> {
    return this.#call(options, () => {
      parseLeaseId(leaseId);
      return this.#state.keepLeaseAlive(leaseId);
    });
  }

  revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    return this.#call(options, () => {
      parseLeaseId(leaseId);
      this.#state.revokeLease(leaseId);
    });
  }

  watch(prefix: string, options: WatchOptions): Promise<Watch> {
    return this.#call(undefined, () => {
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

  async close(): Promise<void> {
    await this.#gate.close();
    await Promise.all([...this.#watches].map((watch) => watch.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #call<T>(options: CallOptions | undefined, work: () => T): Promise<T> {
    return this.#gate.run(async () => {
      options?.signal?.throwIfAborted();
      return work();
    });
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
