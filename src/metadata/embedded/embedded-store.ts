import { type Clock, systemClock } from '../../core/clock.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import { type Logger, silentLogger } from '../../observability/logger.ts';
import { checkFromRevision, checkPrefix } from '../commit-check.ts';
import type { CallOptions, Watch, WatchOptions } from '../metadata-store.ts';
import { SynchronousStore } from '../synchronous-store.ts';
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
export class EmbeddedMetadataStore extends SynchronousStore {
  readonly #environment: Environment;
  readonly #state: EmbeddedState;
  readonly #watcher: EmbeddedWatcher;
  #closed: Promise<void> | undefined;

  private constructor(uri: string, environment: Environment, options: EmbeddedStoreOptions) {
    const clock = options.clock ?? systemClock;
    const state = new EmbeddedState(environment, clock);
    super(uri, state);
    this.#environment = environment;
    this.#state = state;
    this.#watcher = new EmbeddedWatcher(state, clock, options.logger ?? silentLogger, uri);
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

  override watch(prefix: string, options: WatchOptions): Promise<Watch> {
    return this.call(undefined, () => {
      checkPrefix(prefix);
      checkFromRevision(options.fromRevision);
      return this.#watcher.open(prefix, options);
    });
  }

  /** Forgets the history of changes, so that a watch that asks for the past gets `onReset`. */
  compact(): Promise<void> {
    return this.call(undefined, () => this.#state.compact());
  }

  override close(): Promise<void> {
    this.#closed ??= this.gate.close().then(() => {
      this.#watcher.close();
      return this.#environment.close();
    });
    return this.#closed;
  }

  protected override call<T>(options: CallOptions | undefined, work: () => T): Promise<T> {
    return super.call(options, () => {
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
