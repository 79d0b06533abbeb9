/**
 * Keeps the records of this store's objects as they should be, whatever happens to the metadata store or the lease:
 * each write is tried at once, and when it fails for the time being it is tried again behind the scenes until it
 * succeeds, the object is taken back, or another object has taken the name.
 */
import { setMaxListeners } from 'node:events';
import { abortable, sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import type { CallOptions } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import { inLanes } from './lanes.ts';
import type { LocalObject } from './local-object.ts';
import type { ObjectDirectory } from './object-directory.ts';

const RETRY = { firstMs: 200, maxMs: 5_000 };
/** Objects whose records are written at once; a store with thousands must not flood the metadata store. */
const LANES = 32;

export interface RecordSyncOptions {
  readonly directory: ObjectDirectory;
  readonly logger: Logger;
}

export class RecordSync {
  readonly #directory: ObjectDirectory;
  readonly #logger: Logger;
  readonly #closed = new AbortController();
  /** The last write of each object, in line behind the one before. */
  readonly #writes = new Map<LocalObject, Promise<void>>();
  readonly #retries = new Set<Promise<void>>();
  /** Objects taken back whose records may still be there, with the first try to delete them. */
  readonly #removals = new Map<LocalObject, Promise<void>>();

  constructor({ directory, logger }: RecordSyncOptions) {
    this.#directory = directory;
    this.#logger = logger;
    setMaxListeners(0, this.#closed.signal); // one listener a retry
  }

  /**
   * Writes both records of an object as they should be now.
   *
   * @throws P2P_METADATA_UNAVAILABLE and the like: it goes on trying all the same.
   * @throws P2P_OBJECT_SUPERSEDED Another object took the name; that is final.
   */
  async put(local: LocalObject): Promise<void> {
    try {
      await this.#write(local);
    } catch (error) {
      if (!local.isSuperseded)
        this.#retry(
          local.name,
          () => this.#write(local),
          () => local.closing.aborted,
        );
      throw error;
    }
  }

  /** {@link put} for many, when the lease was lost and there is a new one. */
  async putAll(locals: readonly LocalObject[]): Promise<void> {
    await inLanes(locals, LANES, (local) =>
      this.put(local).catch((error: unknown) => {
        this.#logger.warn({ name: local.name, error }, 'object not listed again yet');
      }),
    );
  }

  /**
   * Deletes this store's source record, and the object record with the last source.
   *
   * @param after - A write that may still be under way; the deletion comes behind it.
   * @throws P2P_METADATA_UNAVAILABLE and the like: it goes on trying all the same.
   */
  async remove(local: LocalObject, after: Promise<unknown> = Promise.resolve()): Promise<void> {
    const withdraw = async (): Promise<void> => {
      if (!this.#removals.has(local)) return; // settled meanwhile
      await this.#directory.withdraw(own(local));
      this.#removals.delete(local);
    };
    const removal = Promise.allSettled([after, this.#writes.get(local)]).then(withdraw);
    this.#removals.set(local, removal);
    try {
      await removal;
    } catch (error) {
      this.#retry(local.name, withdraw, () => !this.#removals.has(local));
      throw error;
    }
  }

  /**
   * Finishes what {@link remove} left over under a name that is to be used again.
   *
   * @throws P2P_METADATA_UNAVAILABLE and the like: the old records cannot be deleted, so new ones cannot be put.
   */
  async settle(name: string, options: CallOptions = {}): Promise<void> {
    for (const [local, removal] of this.#removals) {
      if (local.name !== name) continue;
      await abortable(Promise.allSettled([removal]), options.signal);
      if (!this.#removals.has(local)) continue;
      await this.#directory.withdraw(own(local), options);
      this.#removals.delete(local);
    }
  }

  /** Stops trying. What is still listed then vanishes with the lease. */
  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.allSettled([...this.#retries, ...this.#writes.values(), ...this.#removals.values()]);
  }

  async #write(local: LocalObject): Promise<void> {
    const write = (this.#writes.get(local) ?? Promise.resolve()).catch(() => {}).then(() => this.#writeNow(local));
    this.#writes.set(local, write);
    try {
      await write;
    } finally {
      if (this.#writes.get(local) === write) this.#writes.delete(local);
    }
  }

  async #writeNow(local: LocalObject): Promise<void> {
    local.closing.throwIfAborted();
    if (!local.isSuperseded) {
      const outcome = await this.#directory.relist(
        { name: local.name, object: local.record, source: local.source },
        { signal: local.closing },
      );
      if (outcome === 'listed') return;
      local.isSuperseded = true;
      this.#logger.warn({ name: local.name }, 'another object took the name: this one is not listed any more');
    }
    throw new P2PStoreError(ErrorCode.ObjectSuperseded, `Cannot list "${local.name}": another object took the name`, {
      name: local.name,
    });
  }

  #retry(name: string, work: () => Promise<void>, isOver: () => boolean): void {
    const loop = async (): Promise<void> => {
      for (let failures = 0; ; failures++) {
        await sleep(backoffMs(failures, RETRY), this.#closed.signal);
        if (isOver()) return;
        try {
          await work();
          return;
        } catch (error) {
          if (isP2PStoreError(error, ErrorCode.ObjectSuperseded)) return;
          this.#logger.debug({ name, error }, 'records not written yet');
        }
      }
    };
    const retry = loop()
      .catch(() => {}) // closed
      .finally(() => this.#retries.delete(retry));
    this.#retries.add(retry);
  }
}

/** What tells the records of one object of this store from all others. */
function own({ name, role, record: { generation } }: LocalObject): {
  readonly name: string;
  readonly role: LocalObject['role'];
  readonly generation: string;
} {
  return { name, role, generation };
}
