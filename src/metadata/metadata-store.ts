/**
 * The contract of a metadata store: a small, ordered, revisioned key-value map with leases and
 * watches. It holds who has what, never the bytes. etcd, LMDB on one machine, and memory implement
 * it; one suite in `test/contract/` runs over all of them.
 *
 * A revision counts the commits of the whole store that changed something. An entry's `revision` is that of the
 * commit that last wrote it. Keys are well-formed strings of 1 to 1,536 UTF-8 bytes, in the order of those bytes.
 */

export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision of the commit that last wrote this key; what {@link Condition} compares. */
  readonly revision: bigint;
}

export type Condition =
  /** The key holds exactly the value written at `revision`. */
  | { readonly kind: 'unchanged'; readonly key: string; readonly revision: bigint }
  | { readonly kind: 'absent'; readonly key: string }
  /** No key starts with `prefix`. */
  | { readonly kind: 'prefix-empty'; readonly prefix: string };

export type Write =
  /** `leaseId`: the key vanishes with that lease. Without one a put detaches the key from its lease. */
  | { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array; readonly leaseId?: string }
  /** Deleting what is not there is no error. */
  | { readonly kind: 'delete'; readonly key: string };

export type WatchEvent =
  | { readonly kind: 'put'; readonly entry: Entry }
  | { readonly kind: 'delete'; readonly key: string; readonly revision: bigint };

export interface Watch extends AsyncDisposable {
  close(): Promise<void>;
}

export interface WatchOptions {
  /** First revision of interest: pass `list().revision + 1n` to miss nothing and repeat nothing. */
  readonly fromRevision: bigint;
  /** Events of one or more commits, in order. May be called before `watch()` has resolved; must not throw. */
  readonly onEvents: (events: readonly WatchEvent[]) => void;
  /**
   * History was compacted past where the watch stood: events may have been missed. The watch has
   * listed the prefix anew and goes on from `revision`; `entries` is all that is there now.
   */
  readonly onReset: (entries: readonly Entry[], revision: bigint) => void;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface ListOptions extends CallOptions {
  /** Leaves the values out. */
  readonly keysOnly?: boolean;
  /** At most so many entries, the first ones; 1 or more. */
  readonly limit?: number;
}

/** What a prefix held. */
export interface Listing {
  readonly entries: readonly Entry[];
  readonly revision: bigint;
}

export interface MetadataStore extends AsyncDisposable {
  /** For messages and logs; never holds a password. */
  readonly uri: string;

  /** @returns The entry, or undefined when the key is absent. */
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;

  /** Lists every key that starts with `prefix`, in byte order, as of one revision. */
  list(prefix: string, options?: ListOptions): Promise<Listing>;

  /**
   * Applies all `writes` in one commit if every condition holds, none otherwise.
   *
   * @param writes - At most 128, each key at most once, keys and values together at most 1,500,000 bytes.
   * @returns The revision of the commit; of the store as it is when a condition failed or nothing changed.
   * @throws P2P_LEASE_LOST The conditions hold, and a put names a lease that has ended.
   * @throws P2P_RECORD_TOO_LARGE A request exceeds what the store takes.
   * @throws P2P_METADATA_UNAVAILABLE Also when the answer was lost on the way: the commit may have been applied.
   */
  commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    options?: CallOptions,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }>;

  /**
   * Grants a lease. It ends `ttlMs` after its last keep-alive, and its keys with it; etcd rounds up to whole
   * seconds, at least 2. The id is a decimal number.
   */
  grantLease(ttlMs: number, options?: CallOptions): Promise<string>;

  /**
   * Renews a lease once.
   *
   * @returns Milliseconds until it ends if not renewed again; 0 when it has ended already.
   */
  keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<number>;

  /** Ends a lease now and deletes its keys. Ending one that has ended is no error. */
  revokeLease(leaseId: string, options?: CallOptions): Promise<void>;

  /** Watches a prefix until closed. Survives reconnects, restarts of the store and compaction. */
  watch(prefix: string, options: WatchOptions): Promise<Watch>;

  /** Ends the watches and connections; leases that were not revoked run out by themselves. */
  close(): Promise<void>;
}

// Every call above also rejects with
// P2P_METADATA_UNAVAILABLE when the store did not answer within its deadline,
// P2P_METADATA_DENIED when it refused the credentials, and P2P_CLOSED after close().
