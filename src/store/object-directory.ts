/**
 * Reads and writes the records of objects.
 *
 * An object record is on no lease, because it belongs to all sources of the object; it is *live* only while a source
 * record stands beside it, and those are on the leases of their stores. Three rules keep that true at every revision:
 *
 * - a source record is put only in a commit that finds the object record unchanged and of the same generation;
 * - an object record is put only together with a source record, where no source stands (or by force);
 * - an object record is deleted only in a commit that finds no source.
 *
 * So a record whose sources all died is a leftover: nobody lists it, the next reader deletes it, the next `register`
 * writes over it.
 */

import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import type { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { CallOptions, Condition, Entry, MetadataStore, Write } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import {
  objectKey,
  objectsPrefix,
  parseObjectKey,
  parseSourceKey,
  sourceKey,
  sourcesOfPrefix,
  sourcesPrefix,
} from './record-keys.ts';
import {
  decodeObjectRecord,
  decodeSourceRecord,
  encodeObjectRecord,
  encodeSourceRecord,
  type ObjectRecord,
  type SourceRecord,
} from './records.ts';

/** Rounds of read and conditional write; only other writers of the same object make one fail. */
const ATTEMPTS_MAX = 16;
const RETRY = { firstMs: 10, maxMs: 500 };
/** Leftover records that one `list` deletes; the next one deletes more. */
const LEFTOVERS_MAX = 64;

export interface Listing {
  readonly name: string;
  readonly object: ObjectRecord;
}

export interface SourceListing {
  readonly segment: string;
  readonly source: SourceRecord;
}

interface Found {
  readonly record: ObjectRecord;
  readonly unchanged: Condition;
}

export interface ObjectDirectoryOptions {
  readonly metadata: MetadataStore;
  readonly leaseKeeper: LeaseKeeper;
  readonly segmentName: string;
  readonly logger: Logger;
}

export class ObjectDirectory {
  readonly #metadata: MetadataStore;
  readonly #leaseKeeper: LeaseKeeper;
  readonly #segment: string;
  readonly #logger: Logger;

  constructor({ metadata, leaseKeeper, segmentName, logger }: ObjectDirectoryOptions) {
    this.#metadata = metadata;
    this.#leaseKeeper = leaseKeeper;
    this.#segment = segmentName;
    this.#logger = logger;
  }

  /**
   * @returns The object and its sources of the same generation; undefined when no source is live.
   * @throws P2P_RECORD_INVALID The object record is not one of ours.
   */
  async find(
    name: string,
    options: CallOptions = {},
  ): Promise<{ readonly object: ObjectRecord; readonly sources: readonly SourceListing[] } | undefined> {
    const [found, listed] = await Promise.all([
      this.#getObject(name, options),
      this.#metadata.list(sourcesOfPrefix(name), options),
    ]);
    if (found === undefined) return undefined;
    const sources = this.readSources(listed.entries).filter(
      ({ source }) => source.generation === found.record.generation,
    );
    return sources.length === 0 ? undefined : { object: found.record, sources };
  }

  /** Decodes source records; a bad one is logged and left out, so that it hurts nobody but its writer. */
  readSources(entries: readonly Entry[]): SourceListing[] {
    const sources: SourceListing[] = [];
    for (const entry of entries) {
      const segment = parseSourceKey(entry.key)?.segment;
      const source = this.#tolerate(() => decodeSourceRecord(entry.key, entry.value));
      if (segment !== undefined && source !== undefined) sources.push({ segment, source });
    }
    return sources;
  }

  /** @returns Live objects whose name starts with `namePrefix`, by name. Deletes leftovers on the way. */
  async list(namePrefix: string, options: CallOptions = {}): Promise<Listing[]> {
    // Objects first: one that is registered in between is missed, but never taken for a leftover.
    const objects = await this.#metadata.list(objectsPrefix(namePrefix), options);
    const sources = await this.#metadata.list(sourcesPrefix(namePrefix), { ...options, keysOnly: true });
    const live = new Set(sources.entries.map(({ key }) => parseSourceKey(key)?.name));
    const listings: Listing[] = [];
    const leftovers: Entry[] = [];
    for (const entry of objects.entries) {
      const name = parseObjectKey(entry.key);
      if (name === undefined) continue;
      if (!live.has(name)) {
        leftovers.push(entry);
        continue;
      }
      const object = this.#tolerate(() => decodeObjectRecord(entry.key, entry.value));
      if (object !== undefined) listings.push({ name, object });
    }
    await this.#deleteLeftovers(leftovers);
    return listings.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Puts a new object with its gold source, in one commit.
   *
   * @param options.force - Also over a live object of another store, whose sources are taken off the list.
   * @throws P2P_OBJECT_EXISTS The name is live, and `force` is not set.
   */
  async announce(
    name: string,
    object: ObjectRecord,
    source: SourceRecord,
    options: CallOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    const isPut = options.force
      ? await this.#announceOver(name, object, source, options)
      : await this.#put(name, object, source, [{ kind: 'prefix-empty', prefix: sourcesOfPrefix(name) }], options);
    if (isPut) return;
    // A commit whose answer was lost and that was sent again fails on its own first try.
    const current = await this.find(name, options);
    if (current?.object.generation === object.generation) return;
    throw new P2PStoreError(ErrorCode.ObjectExists, `Cannot register "${name}": another store holds the name`, {
      name,
    });
  }

  /**
   * Puts or replaces this store's own source record beside the object of the same generation.
   *
   * @throws P2P_OBJECT_NOT_FOUND The object is gone.
   * @throws P2P_OBJECT_SUPERSEDED The name now stands for another object.
   */
  async putSource(name: string, source: SourceRecord, options: CallOptions = {}): Promise<void> {
    const key = sourceKey(name, this.#segment);
    const value = encodeSourceRecord(key, source);
    await this.#retryConflicts(name, options, async () => {
      const found = await this.#requireSame(name, source.generation, options);
      return await this.#leaseKeeper.withLease(async (leaseId) => {
        const put: Write = { kind: 'put', key, value, leaseId };
        return (await this.#metadata.commit([found.unchanged], [put], options)).succeeded;
      });
    });
  }

  /**
   * Replaces the object record by one of the same generation (the gold source's digest root is known).
   *
   * @throws P2P_OBJECT_NOT_FOUND, P2P_OBJECT_SUPERSEDED As {@link putSource}.
   */
  async replaceObject(name: string, object: ObjectRecord, options: CallOptions = {}): Promise<void> {
    const key = objectKey(name);
    const value = encodeObjectRecord(key, object);
    await this.#retryConflicts(name, options, async () => {
      const found = await this.#requireSame(name, object.generation, options);
      return (await this.#metadata.commit([found.unchanged], [{ kind: 'put', key, value }], options)).succeeded;
    });
  }

  /**
   * Lists an object of this store again after its lease was lost, without ever writing over another one.
   *
   * @returns `superseded` when the name meanwhile stands for another live object.
   */
  async relist(
    name: string,
    object: ObjectRecord,
    source: SourceRecord,
    options: CallOptions = {},
  ): Promise<'listed' | 'superseded'> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      try {
        await this.putSource(name, source, options);
        return 'listed';
      } catch (error) {
        const isGone = isP2PStoreError(error, ErrorCode.ObjectNotFound);
        if (!isGone && !isP2PStoreError(error, ErrorCode.ObjectSuperseded)) throw error;
      }
      try {
        await this.announce(name, object, source, options);
        return 'listed';
      } catch (error) {
        if (!isP2PStoreError(error, ErrorCode.ObjectExists)) throw error;
        if ((await this.find(name, options))?.object.generation !== object.generation) return 'superseded';
      }
    }
    throw this.#contended(name);
  }

  /**
   * Deletes this store's own source record of one generation, and the object record when no source is left.
   * Doing it twice, or after the lease has ended, is no error.
   */
  async withdraw(name: string, generation: string, options: CallOptions = {}): Promise<void> {
    const key = sourceKey(name, this.#segment);
    await this.#retryConflicts(name, options, async () => {
      const entry = await this.#metadata.get(key, options);
      if (entry === undefined) return true;
      const source = this.#tolerate(() => decodeSourceRecord(key, entry.value));
      if (source !== undefined && source.generation !== generation) return true;
      const unchanged: Condition = { kind: 'unchanged', key, revision: entry.revision };
      return (await this.#metadata.commit([unchanged], [{ kind: 'delete', key }], options)).succeeded;
    });
    await this.#retryConflicts(name, options, async () => {
      const listed = await this.#metadata.list(sourcesOfPrefix(name), { ...options, keysOnly: true });
      if (listed.entries.length > 0) return true;
      const entry = await this.#metadata.get(objectKey(name), options);
      return entry === undefined || (await this.#deleteLeftover(entry, options));
    });
  }

  async #put(
    name: string,
    object: ObjectRecord,
    source: SourceRecord,
    conditions: readonly Condition[],
    options: CallOptions,
  ): Promise<boolean> {
    const ownKey = sourceKey(name, this.#segment);
    const objectPut: Write = { kind: 'put', key: objectKey(name), value: encodeObjectRecord(objectKey(name), object) };
    const value = encodeSourceRecord(ownKey, source);
    return await this.#leaseKeeper.withLease(async (leaseId) => {
      const writes: Write[] = [objectPut, { kind: 'put', key: ownKey, value, leaseId }];
      return (await this.#metadata.commit(conditions, writes, options)).succeeded;
    });
  }

  async #announceOver(
    name: string,
    object: ObjectRecord,
    source: SourceRecord,
    options: CallOptions,
  ): Promise<boolean> {
    await this.#retryConflicts(name, options, async () => {
      const key = objectKey(name);
      const entry = await this.#metadata.get(key, options);
      const condition: Condition =
        entry === undefined ? { kind: 'absent', key } : { kind: 'unchanged', key, revision: entry.revision };
      return await this.#put(name, object, source, [condition], options);
    });
    await this.#sweepSources(name, object.generation).catch((error: unknown) => {
      this.#logger.warn({ name, error }, 'superseded sources stay listed until their leases end');
    });
    return true;
  }

  /** Takes the sources of older generations off the list, as long as `generation` is the live one. */
  async #sweepSources(name: string, generation: string): Promise<void> {
    const listed = await this.#metadata.list(sourcesOfPrefix(name));
    for (const entry of listed.entries) {
      const source = this.#tolerate(() => decodeSourceRecord(entry.key, entry.value));
      if (source?.generation === generation) continue;
      const found = await this.#getObject(name, {});
      if (found?.record.generation !== generation) return;
      const unchanged: Condition = { kind: 'unchanged', key: entry.key, revision: entry.revision };
      await this.#metadata.commit([found.unchanged, unchanged], [{ kind: 'delete', key: entry.key }]);
    }
  }

  async #getObject(name: string, options: CallOptions): Promise<Found | undefined> {
    const key = objectKey(name);
    const entry = await this.#metadata.get(key, options);
    if (entry === undefined) return undefined;
    return {
      record: decodeObjectRecord(key, entry.value),
      unchanged: { kind: 'unchanged', key, revision: entry.revision },
    };
  }

  async #requireSame(name: string, generation: string, options: CallOptions): Promise<Found> {
    const found = await this.#getObject(name, options);
    if (found === undefined) {
      throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot list a source of "${name}": the object is gone`, {
        name,
      });
    }
    if (found.record.generation !== generation) {
      throw new P2PStoreError(
        ErrorCode.ObjectSuperseded,
        `Cannot list a source of "${name}": another object took the name`,
        { name },
      );
    }
    return found;
  }

  async #retryConflicts(name: string, options: CallOptions, attempt: () => Promise<boolean>): Promise<void> {
    for (let failures = 0; failures < ATTEMPTS_MAX; failures++) {
      if (await attempt()) return;
      await sleep(backoffMs(failures, RETRY), options.signal);
    }
    throw this.#contended(name);
  }

  #contended(name: string): P2PStoreError {
    return new P2PStoreError(
      ErrorCode.MetadataUnavailable,
      `Cannot write the records of "${name}": others changed them ${ATTEMPTS_MAX} times in between`,
      { uri: this.#metadata.uri },
    );
  }

  async #deleteLeftover(entry: Entry, options: CallOptions): Promise<boolean> {
    const name = parseObjectKey(entry.key) ?? '';
    const conditions: Condition[] = [
      { kind: 'prefix-empty', prefix: sourcesOfPrefix(name) },
      { kind: 'unchanged', key: entry.key, revision: entry.revision },
    ];
    return (await this.#metadata.commit(conditions, [{ kind: 'delete', key: entry.key }], options)).succeeded;
  }

  /** Best effort: a reader must not fail, nor wait long, over what others left behind. */
  async #deleteLeftovers(entries: readonly Entry[]): Promise<void> {
    const results = await Promise.allSettled(
      entries.slice(0, LEFTOVERS_MAX).map((entry) => this.#deleteLeftover(entry, {})),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) this.#logger.warn({ error: failed.reason }, 'leftover object records not deleted');
  }

  #tolerate<T>(decode: () => T): T | undefined {
    try {
      return decode();
    } catch (error) {
      this.#logger.warn({ error }, 'bad record ignored');
      return undefined;
    }
  }
}
