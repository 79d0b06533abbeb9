import { Gate } from '../core/gate.ts';
import { checkCommit, checkKey, checkLeaseTtl, checkPrefix, parseLeaseId } from './commit-check.ts';
import type {
  CallOptions,
  Condition,
  Entry,
  ListOptions,
  MetadataStore,
  Watch,
  WatchOptions,
  Write,
} from './metadata-store.ts';

/** The rules of a store that answers at once. Lease ids have been checked to be numbers. */
export interface SynchronousState {
  get(key: string): Entry | undefined;
  list(prefix: string, limit?: number): { entries: Entry[]; revision: bigint };
  commit(conditions: readonly Condition[], writes: readonly Write[]): { succeeded: boolean; revision: bigint };
  grantLease(ttlMs: number): string;
  keepLeaseAlive(leaseId: string): number;
  revokeLease(leaseId: string): void;
}

/**
 * What the stores without a server have in common: they check the arguments, work within the call, and answer with a promise as the
 * contract has it. How they watch and close is their own.
 */
export abstract class SynchronousStore implements MetadataStore {
  readonly uri: string;
  protected readonly gate: Gate;
  readonly #state: SynchronousState;

  constructor(uri: string, state: SynchronousState) {
    this.uri = uri;
    this.gate = new Gate(`metadata store ${uri}`);
    this.#state = state;
  }

  abstract watch(prefix: string, options: WatchOptions): Promise<Watch>;
  abstract close(): Promise<void>;

  get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    return this.call(options, () => {
      checkKey(key);
      return this.#state.get(key);
    });
  }

  list(
    prefix: string,
    options?: ListOptions,
  ): Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }> {
    return this.call(options, () => {
      checkPrefix(prefix);
      const { entries, revision } = this.#state.list(prefix, options?.limit);
      if (options?.keysOnly !== true) return { entries, revision };
      return { entries: entries.map((entry) => ({ ...entry, value: new Uint8Array() })), revision };
    });
  }

  commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    options?: CallOptions,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    return this.call(options, () => {
      checkCommit(conditions, writes);
      return this.#state.commit(conditions, writes);
    });
  }

  grantLease(ttlMs: number, options?: CallOptions): Promise<string> {
    return this.call(options, () => {
      checkLeaseTtl(ttlMs);
      return this.#state.grantLease(ttlMs);
    });
  }

  keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<number> {
    return this.call(options, () => {
      parseLeaseId(leaseId);
      return this.#state.keepLeaseAlive(leaseId);
    });
  }

  revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    return this.call(options, () => {
      parseLeaseId(leaseId);
      this.#state.revokeLease(leaseId);
    });
  }

  /** Runs `work` unless the store is closed or the call aborted. */
  protected call<T>(options: CallOptions | undefined, work: () => T): Promise<T> {
    return this.gate.run(async () => {
      options?.signal?.throwIfAborted();
      return work();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
