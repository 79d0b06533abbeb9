import { randomBytes, randomUUID } from 'node:crypto';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { type Logger, silentLogger } from '../../observability/logger.ts';
import {
  checkCommit,
  checkFromRevision,
  checkKey,
  checkLeaseTtl,
  checkPrefix,
  leaseLost,
  parseLeaseId,
} from '../commit-check.ts';
import { prefixEnd } from '../key-range.ts';
import type {
  CallOptions,
  Condition,
  Entry,
  ListOptions,
  MetadataStore,
  Watch,
  WatchEvent,
  WatchOptions,
  Write,
} from '../metadata-store.ts';
import type { RedisAddress } from './redis-address.ts';
import { RedisConnection, type Reply } from './redis-connection.ts';
import { INTERNAL_PREFIX } from './redis-scripts.ts';
import { decodeHistoryEntry, RedisWatcher } from './redis-watcher.ts';

export interface RedisStoreOptions {
  readonly logger?: Logger;
}

/**
 * A metadata store in a Redis server, version 6.2 or later, not a Redis Cluster.
 *
 * Its rules are Lua scripts, see `redis-scripts.ts`; each call is one of them, so that it is atomic. Values are plain
 * strings under their keys, so that Mooncake's engines and ours find each other there. What other programs SET or DEL
 * is noticed when one of ours looks at that key: no watch tells of it before, and a list does not show it.
 */
export class RedisMetadataStore implements MetadataStore {
  readonly uri: string;
  readonly #connection: RedisConnection;
  readonly #watcher: RedisWatcher;
  #closed: Promise<void> | undefined;

  private constructor(address: RedisAddress, logger: Logger) {
    this.uri = address.uri;
    this.#connection = new RedisConnection(address, logger);
    const source = {
      eventsSince: (revision: bigint) => this.#eventsSince(revision),
      list: (prefix: string) => this.list(prefix),
    };
    this.#watcher = new RedisWatcher(source, new RedisConnection(address, logger), logger);
  }

  /**
   * @throws P2P_METADATA_UNAVAILABLE The server did not answer within 5 s.
   * @throws P2P_METADATA_DENIED It refuses the credentials.
   */
  static async open(address: RedisAddress, options: RedisStoreOptions = {}): Promise<RedisMetadataStore> {
    const store = new RedisMetadataStore(address, options.logger ?? silentLogger);
    try {
      await store.#connection.open();
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  async get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    checkKey(key);
    const [value, revision] = buffersOf(await this.#connection.run('get', [key], options?.signal));
    return value && { key, value: new Uint8Array(value), revision: bigintOf(revision) };
  }

  async list(
    prefix: string,
    options?: ListOptions,
  ): Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }> {
    checkPrefix(prefix);
    const args = [
      ...lexicalRange(prefix),
      options?.keysOnly === true ? '1' : '0',
      String(options?.limit ?? Number.MAX_SAFE_INTEGER),
    ];
    const [revision, ...rest] = buffersOf(await this.#connection.run('list', args, options?.signal));
    const entries: Entry[] = [];
    for (let at = 0; at < rest.length; at += 3) {
      const value = new Uint8Array(rest[at + 2] ?? []);
      entries.push({ key: String(rest[at]), value, revision: bigintOf(rest[at + 1]) });
    }
    return { entries, revision: bigintOf(revision) };
  }

  async commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    options?: CallOptions,
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    checkCommit(conditions, writes);
    for (const { key } of writes) checkNotInternal(key);
    const args = [
      randomUUID(),
      String(conditions.length),
      ...conditions.flatMap(conditionArguments),
      ...writes.flatMap(writeArguments),
    ];
    const [outcome, detail] = buffersOf(await this.#connection.run('commit', args, options?.signal));
    if (outcome?.toString() === 'lease') throw leaseLost(String(detail));
    return { succeeded: outcome?.toString() === 'done', revision: bigintOf(detail) };
  }

  async grantLease(ttlMs: number, options?: CallOptions): Promise<string> {
    checkLeaseTtl(ttlMs);
    // Random, so that one that was forgotten in a restart is never mistaken for a later one.
    const leaseId = ((randomBytes(8).readBigUInt64LE() >> 2n) + 1n).toString();
    await this.#connection.run('grant', [leaseId, String(Math.ceil(ttlMs))], options?.signal);
    return leaseId;
  }

  async keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<number> {
    parseLeaseId(leaseId);
    return Number(await this.#connection.run('keepAlive', [leaseId], options?.signal));
  }

  async revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    parseLeaseId(leaseId);
    await this.#connection.run('revoke', [leaseId], options?.signal);
  }

  async watch(prefix: string, options: WatchOptions): Promise<Watch> {
    checkPrefix(prefix);
    checkFromRevision(options.fromRevision);
    if (this.#closed !== undefined) throw this.#connection.closedError();
    return this.#watcher.open(prefix, options);
  }

  async #eventsSince(
    revision: bigint,
  ): Promise<{ readonly events: readonly WatchEvent[]; readonly revision: bigint } | undefined> {
    const [now, history] = (await this.#connection.run('since', [String(revision)])) as readonly [Buffer, Reply[]?];
    return history && { events: history.map(decodeHistoryEntry), revision: bigintOf(now) };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#connection.close();
    await this.#watcher.close();
  }
}

function buffersOf(reply: Reply): readonly Buffer[] {
  return reply as readonly Buffer[];
}

function bigintOf(text: Buffer | undefined): bigint {
  return BigInt(String(text ?? '0'));
}

/** Minimum and maximum of all keys with a prefix, as ZRANGEBYLEX takes them. */
function lexicalRange(prefix: string): [min: Buffer, max: Buffer] {
  const bytes = Buffer.from(prefix);
  const end = prefixEnd(bytes);
  return [
    bytes.length === 0 ? Buffer.from('-') : Buffer.concat([Buffer.from('['), bytes]),
    end === undefined ? Buffer.from('+') : Buffer.concat([Buffer.from('('), end]),
  ];
}

function conditionArguments(condition: Condition): (string | Buffer)[] {
  switch (condition.kind) {
    case 'prefix-empty':
      return [condition.kind, ...lexicalRange(condition.prefix)];
    case 'absent':
      return [condition.kind, condition.key, ''];
    case 'unchanged':
      return [condition.kind, condition.key, String(condition.revision)];
  }
}

function writeArguments(write: Write): (string | Buffer)[] {
  if (write.kind === 'delete') return [write.kind, write.key, '', ''];
  const { buffer, byteOffset, byteLength } = write.value;
  return [write.kind, write.key, Buffer.from(buffer, byteOffset, byteLength), write.leaseId ?? ''];
}

function checkNotInternal(key: string): void {
  if (!key.startsWith(INTERNAL_PREFIX)) return;
  throw new P2PStoreError(
    ErrorCode.InvalidArgument,
    `Cannot write a key that begins with ${INTERNAL_PREFIX}: the store keeps its own records there`,
    { argument: 'key' },
  );
}
