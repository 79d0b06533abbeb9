import { type Clock, systemClock } from '../../core/clock.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import { Gate } from '../../core/gate.ts';
import { type Logger, silentLogger } from '../../observability/logger.ts';
import { checkCommit, checkFromRevision, checkKey, checkLeaseTtl, checkPrefix, parseLeaseId } from '../commit-check.ts';
import type { CallOptions, Condition, Entry, MetadataStore, Watch, WatchOptions, Write } from '../metadata-store.ts';
import { prepareDirectory } from './directory.ts';
import { EmbeddedState } from './embedded-state.ts';
import { EmbeddedWatcher } from './embedded-watcher.ts';
import { type Environment, openEnvironment } from './environment.ts';

export interface EmbeddedStoreOptions {
  readonly logger?: Logger;
  /** Must be the same for all processes that share the directory. Default: the machine's monotonic clock. */
  readonly clock?: Clock;
}

/**
 * A metadata store in an LMDB file that the processes of one machine share, with no server.
 *
 * A lease names its owner's process, so that the keys of a killed process vanish at the next look, not after
 * the lease's time. Calls are synchronous inside: a transaction takes tens of microseconds, and the lock
 * that all processes share is never held across a turn of the event loop. A reboot empties the store.
 */
export class EmbeddedMetadataStore implements MetadataStore {
  readonly uri: string;
  readonly #environment: Environment;
  readonly #state: EmbeddedState;
  readonly #watcher: EmbeddedWatcher;
  readonly #gate: Gate;
  #closed: Promise<void> | undefined;

  private constructor(uri: string, environment: Environment, options: EmbeddedStoreOptions) {
    const clock = options.clock ?? systemClock;
    this.uri = uri;
    this.#environment = environment;
    this.#state = new EmbeddedState(environment, clock);
    this.#watcher = new EmbeddedWatcher(this.#state, clock, options.logger ?? silentLogger, uri);
    this.#gate = new Gate(`metadata store ${uri}`);
  }

  /**
   * @param directory - Absolute; made with mode 0700 when it is not there.
   * @throws P2P_METADATA_DENIED The directory belongs to another user.
   * @throws P2P_METADATA_UNAVAILABLE The directory or the file cannot be used.
   */
  static async open(directory: string, options: EmbeddedStoreOptions = {}): Promise<EmbeddedMetadataStore> {
    const uri = `local:${directory}`;
    prepareDirectory(directory);
    try {
      return new EmbeddedMetadataStore(uri, await openEnvironment(directory), options);
    } catch (cause) {
      throw unavailable(uri, cause);
    }
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
    return this.#call(options, () => this.#state.keepLeaseAlive(parseLeaseId(leaseId)));
  }

  revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    return this.#call(options, () => this.#state.revokeLease(parseLeaseId(leaseId)));
  }

  watch(prefix: string, options: WatchOptions): Promise<Watch> {
    return this.#call(undefined, () => {
      checkPrefix(prefix);
      checkFromRevision(options.fromRevision);
      return this.#watcher.open(prefix, options);
    });
  }

  /** Forgets the history of changes, so that a watch that asks for the past gets `onReset`. */
  compact(): Promise<void> {
    return this.#call(undefined, () => this.#state.compact());
  }

  close(): Promise<void> {
    this.#closed ??= this.#gate.close().then(() => {
      this.#watcher.close();
      return this.#environment.close();
    });
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #call<T>(options: CallOptions | undefined, work: () => T): Promise<T> {
    return this.#gate.run(async () => {
      options?.signal?.throwIfAborted();
      try {
        return work();
      } catch (cause) {
        throw isP2PStoreError(cause) ? cause : unavailable(this.uri, cause);
      }
    });
  }
}

function unavailable(uri: string, cause: unknown): P2PStoreError<'P2P_METADATA_UNAVAILABLE'> {
  return new P2PStoreError(
    ErrorCode.MetadataUnavailable,
    `Cannot use metadata store ${uri}: the database failed`,
    { uri },
    { cause },
  );
}
