import { type Logger, silentLogger } from '../../observability/logger.ts';
import {
  checkCommit,
  checkFromRevision,
  checkKey,
  checkLeaseTtl,
  checkPrefix,
  leaseLost,
  parseLeaseId,
  recordTooLarge,
} from '../commit-check.ts';
import type {
  CallOptions,
  Condition,
  Entry,
  ListOptions,
  MetadataStore,
  Watch,
  WatchOptions,
  Write,
} from '../metadata-store.ts';
import type { EtcdAddress } from './etcd-address.ts';
import { closedError, type EtcdAttempt, EtcdChannel, type EtcdEndpoint, OPEN_MS } from './etcd-channel.ts';
import { classifyFailure, unavailableError } from './etcd-errors.ts';
import { toEntry, toRange } from './etcd-records.ts';
import { judgeLostCommit, toCompare, toRequestOp } from './etcd-transaction.ts';
import { EtcdWatch } from './etcd-watch.ts';

/** Keys in one answer to a list: at 16 kB a record an answer stays at 16 MB. */
const PAGE_KEYS = 1000;
/** A list whose revision was compacted between two pages starts over. */
const LIST_TRIES_MAX = 5;

export interface EtcdStoreOptions {
  readonly logger?: Logger;
}

/**
 * A metadata store in an etcd cluster, version 3.4 or later.
 *
 * Reads are linearizable. A commit is one etcd transaction; when its answer is lost, it is sent
 * again, and whether the first try was carried out is told from the records it left, see `judgeLostCommit`.
 */
export class EtcdMetadataStore implements MetadataStore {
  readonly uri: string;
  readonly #channel: EtcdChannel;
  readonly #logger: Logger;
  readonly #watches = new Set<EtcdWatch>();
  readonly #inflight = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  private constructor(channel: EtcdChannel, logger: Logger) {
    this.uri = channel.uri;
    this.#channel = channel;
    this.#logger = logger;
  }

  /**
   * Connects, and asks for one key to see that the cluster answers and lets us in.
   *
   * @throws P2P_METADATA_UNAVAILABLE No endpoint answered within 5 s.
   * @throws P2P_METADATA_DENIED The credentials were refused.
   */
  static async open(address: EtcdAddress, options: EtcdStoreOptions = {}): Promise<EtcdMetadataStore> {
    const store = new EtcdMetadataStore(new EtcdChannel(address), options.logger ?? silentLogger);
    try {
      await store.#call(undefined, getProbe, OPEN_MS);
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  async get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    checkKey(key);
    const response = await this.#call(options, (endpoint, attempt) =>
      endpoint.kv.range({ key: Buffer.from(key) }, attempt.options),
    );
    const first = response.kvs[0];
    return first && toEntry(first);
  }

  async list(
    prefix: string,
    options?: ListOptions,
  ): Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }> {
    checkPrefix(prefix);
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#listOnce(prefix, options);
      } catch (error) {
        if (classifyFailure(error) !== 'compacted' || tries === LIST_TRIES_MAX) throw error;
      }
    }
  }

  async commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    options?: CallOptions,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    checkCommit(conditions, writes);
    const request = { compare: conditions.map(toCompare), success: writes.map(toRequestOp) };
    let isUncertain = false;
    try {
      const response = await this.#call(options, (endpoint, attempt) => {
        isUncertain = attempt.isUncertain;
        return endpoint.kv.txn(request, attempt.options);
      });
      const revision = response.header?.revision ?? 0n;
      if (response.succeeded || !isUncertain || writes.length === 0) return { succeeded: response.succeeded, revision };
    } catch (error) {
      throw this.#translateCommit(error, writes);
    }
    return this.#settleUncertain(writes, options);
  }

  async grantLease(ttlMs: number, options?: CallOptions): Promise<string> {
    checkLeaseTtl(ttlMs);
    const response = await this.#call(options, (endpoint, attempt) =>
      endpoint.lease.leaseGrant({ ttlSeconds: BigInt(Math.ceil(ttlMs / 1000)) }, attempt.options),
    );
    return response.id.toString();
  }

  async keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<number> {
    const id = parseLeaseId(leaseId);
    return this.#call(options, async (endpoint, attempt) => {
      let ttlSeconds: bigint | undefined;
      // A stream of one request and one answer: nothing to keep in step across reconnects.
      for await (const response of endpoint.lease.leaseKeepAlive(once({ id }), attempt.options)) {
        ttlSeconds = response.ttlSeconds;
      }
      if (ttlSeconds === undefined) throw unavailableError(this.uri, undefined);
      return Math.max(0, Number(ttlSeconds) * 1000);
    });
  }

  async revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    const id = parseLeaseId(leaseId);
    try {
      await this.#call(options, (endpoint, attempt) => endpoint.lease.leaseRevoke({ id }, attempt.options));
    } catch (error) {
      if (classifyFailure(error) !== 'lease-not-found') throw error;
    }
  }

  async watch(prefix: string, options: WatchOptions): Promise<Watch> {
    checkPrefix(prefix);
    checkFromRevision(options.fromRevision);
    if (this.#closed !== undefined) throw closedError(this.uri);
    const watch = new EtcdWatch(this.#channel, prefix, options, {
      logger: this.#logger,
      list: (signal) => this.list(prefix, { signal }),
      onClose: () => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    await watch.opened();
    return watch;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#channel.close(closedError(this.uri));
    await Promise.all([...this.#watches].map((watch) => watch.close()));
    await Promise.allSettled(this.#inflight);
  }

  async #listOnce(prefix: string, options: ListOptions | undefined): Promise<{ entries: Entry[]; revision: bigint }> {
    const range = toRange(prefix);
    const wanted = options?.limit ?? Number.POSITIVE_INFINITY;
    const entries: Entry[] = [];
    let revision = 0n;
    for (let start = range.key; ; ) {
      const limit = Math.min(PAGE_KEYS, wanted - entries.length);
      const page = { key: start, rangeEnd: range.rangeEnd, limit: BigInt(limit), revision };
      const response = await this.#call(options, (endpoint, attempt) =>
        endpoint.kv.range({ ...page, keysOnly: options?.keysOnly ?? false }, attempt.options),
      );
      if (revision === 0n) revision = response.header?.revision ?? 0n;
      entries.push(...response.kvs.map(toEntry));
      const last = response.kvs.at(-1);
      if (!response.more || last === undefined || entries.length >= wanted) return { entries, revision };
      start = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  /** The conditions do not hold, after a try whose answer was lost: because of others, or because of us? */
  async #settleUncertain(
    writes: readonly Write[],
    options: CallOptions | undefined,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    const response = await this.#call(options, (endpoint, attempt) =>
      endpoint.kv.txn(
        { success: writes.map(({ key }) => ({ request: { case: 'requestRange', value: { key: Buffer.from(key) } } })) },
        attempt.options,
      ),
    );
    const judgement = judgeLostCommit(writes, response);
    if (judgement === 'unknown') throw unavailableError(this.uri, undefined);
    if (judgement === 'not-applied') return { succeeded: false, revision: response.header?.revision ?? 0n };
    return { succeeded: true, revision: judgement };
  }

  async #call<T>(
    options: CallOptions | undefined,
    work: (endpoint: EtcdEndpoint, attempt: EtcdAttempt) => Promise<T>,
    deadlineMs?: number,
  ): Promise<T> {
    options?.signal?.throwIfAborted();
    const call = this.#channel.call(work, { signal: options?.signal, ...(deadlineMs !== undefined && { deadlineMs }) });
    this.#inflight.add(call);
    try {
      return await call;
    } finally {
      this.#inflight.delete(call);
    }
  }

  #translateCommit(error: unknown, writes: readonly Write[]): unknown {
    const kind = classifyFailure(error);
    if (kind === 'lease-not-found') {
      const leased = writes.find((write) => write.kind === 'put' && write.leaseId !== undefined);
      return leaseLost((leased?.kind === 'put' && leased.leaseId) || '0', error);
    }
    if (kind === 'too-large') {
      const sizes = writes.map(({ key, ...write }) => key.length + ('value' in write ? write.value.length : 0));
      return recordTooLarge(
        writes[0]?.key ?? '',
        sizes.reduce((sum, size) => sum + size, 0),
        error,
      );
    }
    return error;
  }
}

function getProbe(endpoint: EtcdEndpoint, attempt: EtcdAttempt): Promise<unknown> {
  return endpoint.kv.range({ key: Buffer.from('p2pstore/'), keysOnly: true }, attempt.options);
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
}
