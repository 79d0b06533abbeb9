/**
 * Writes the records of objects.
 *
 * An object record is on no lease, because it belongs to all sources of the object; it is *live* only while a source
 * record stands beside it, and those are on the leases of their stores. Three rules keep that true at every revision:
 *
 * - a source record is put only in a commit that finds the object record unchanged and of the same generation;
 * - an object record is put only together with a source record, where no source stands (or by force);
 * - an object record is deleted only in a commit that finds no source.
 *
 * So a record whose sources all died is a leftover: nobody lists it, the next reader deletes it, the next `register`
 * writes over it. A `signal` ends reads and waits, but no commit that is under way: what comes after it could not know
 * whether it happens still.
 */
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { CallOptions, Condition, MetadataStore, Write } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import type { ObjectReader } from './object-reader.ts';
import { objectKey, sourceKey, sourcesOfPrefix } from './record-keys.ts';
import { encodeObjectRecord, encodeSourceRecord, type ObjectRecord, type SourceRecord } from './records.ts';

/** Rounds of read and conditional write; only other writers of the same object make one fail. */
const ATTEMPTS_MAX = 16;
const RETRY = { firstMs: 10, maxMs: 500 };

export interface ObjectDirectoryOptions {
  readonly metadata: MetadataStore;
  readonly reader: ObjectReader;
  readonly leaseKeeper: Pick<LeaseKeeper, 'withLease'>;
  readonly segmentName: string;
  readonly logger: Logger;
}

interface FoundRecord {
  readonly record: ObjectRecord;
  readonly unchanged: Condition;
}

/** What one store writes about one object. */
export interface Announcement {
  readonly name: string;
  readonly object: ObjectRecord;
  readonly source: SourceRecord;
}

function isFree(name: string): Condition {
  return { kind: 'prefix-empty', prefix: sourcesOfPrefix(name) };
}

export class ObjectDirectory {
  readonly #metadata: MetadataStore;
  readonly #reader: ObjectReader;
  readonly #leaseKeeper: Pick<LeaseKeeper, 'withLease'>;
  readonly #segment: string;
  readonly #logger: Logger;

  constructor({ metadata, reader, leaseKeeper, segmentName, logger }: ObjectDirectoryOptions) {
    this.#metadata = metadata;
    this.#reader = reader;
    this.#leaseKeeper = leaseKeeper;
    this.#segment = segmentName;
    this.#logger = logger;
  }

  /**
   * Puts a new object with its gold source, in one commit.
   *
   * @param options.force - Also over a live object of another store, whose sources are taken off the list.
   * @throws P2P_OBJECT_EXISTS The name is live, and `force` is not set.
   */
  async announce(announcement: Announcement, options: CallOptions & { readonly force?: boolean } = {}): Promise<void> {
    const { name, object } = announcement;
    if (options.force === true) return await this.#announceOver(announcement, options);
    if (await this.#putBoth(announcement, isFree(name), options)) return;
    // A commit whose answer was lost and that was sent again fails on its own first try.
    const current = await this.#reader.find(name, options);
    if (current?.object.generation === object.generation) return;
    throw new P2PStoreError(ErrorCode.ObjectExists, `Cannot register "${name}": another store holds the name`, {
      name,
    });
  }

  /**
   * Puts or replaces this store's own source record beside the object of the same generation, and completes the
   * object record with the digest root if that was not known.
   *
   * @param options.unchanged - That the object record is still what it was when it was read; without it it is read.
   * @throws P2P_OBJECT_NOT_FOUND The object is gone.
   * @throws P2P_OBJECT_SUPERSEDED The name now stands for another object.
   */
  async putSource(
    announcement: Announcement,
    { unchanged, ...options }: CallOptions & { readonly unchanged?: Condition | undefined } = {},
  ): Promise<void> {
    const { name, object } = announcement;
    if (unchanged !== undefined && (await this.#putBeside(announcement, { record: object, unchanged }, options)))
      return;
    await this.#retryConflicts(name, options, async () => {
      const found = await this.#requireSame(name, object.generation, options);
      return await this.#putBeside(announcement, found, options);
    });
  }

  /**
   * Lists an object of this store as it is now, whatever became of its records, without ever writing over another one.
   *
   * @returns `superseded` when the name meanwhile stands for another live object.
   */
  async relist(announcement: Announcement, options: CallOptions = {}): Promise<'listed' | 'superseded'> {
    const { name, object } = announcement;
    let outcome: 'listed' | 'superseded' = 'listed';
    await this.#retryConflicts(name, options, async () => {
      const found = await this.#reader.getObject(name, options);
      if (found?.record.generation === object.generation) return await this.#putBeside(announcement, found, options);
      if (await this.#putBoth(announcement, isFree(name), options)) return true;
      const current = await this.#reader.find(name, options);
      if (current === undefined || current.object.generation === object.generation) return false;
      outcome = 'superseded';
      return true;
    });
    return outcome;
  }

  /**
   * Deletes this store's own source record of one generation, and the object record when no source is left.
   * Doing it twice, or after the lease has ended, is no error.
   */
  async withdraw(
    {
      name,
      generation,
      role,
    }: { readonly name: string; readonly generation: string; readonly role: SourceRecord['role'] },
    options: CallOptions = {},
  ): Promise<void> {
    const key = sourceKey(name, this.#segment, role);
    await this.#retryConflicts(name, options, async () => {
      const entry = await this.#metadata.get(key, options);
      if (entry === undefined) return true;
      const [listing] = this.#reader.readSources([entry]);
      if (listing !== undefined && listing.source.generation !== generation) return true;
      const unchanged: Condition = { kind: 'unchanged', key, revision: entry.revision };
      return (await this.#metadata.commit([unchanged], [{ kind: 'delete', key }])).succeeded;
    });
    await this.#retryConflicts(name, options, () => this.#reader.deleteIfUnserved(name, options));
  }

  async #putBeside({ name, object, source }: Announcement, found: FoundRecord, options: CallOptions): Promise<boolean> {
    const key = sourceKey(name, this.#segment, source.role);
    const value = encodeSourceRecord(key, source);
    const completesRoot = object.digest.root !== undefined && found.record.digest.root === undefined;
    return await this.#leaseKeeper.withLease(async (leaseId) => {
      const writes: Write[] = [{ kind: 'put', key, value, leaseId }];
      if (completesRoot) writes.push(this.#putOfObject(name, object));
      return (await this.#metadata.commit([found.unchanged], writes)).succeeded;
    }, options);
  }

  async #putBoth({ name, object, source }: Announcement, condition: Condition, options: CallOptions): Promise<boolean> {
    const key = sourceKey(name, this.#segment, source.role);
    const value = encodeSourceRecord(key, source);
    const objectPut = this.#putOfObject(name, object);
    return await this.#leaseKeeper.withLease(async (leaseId) => {
      const writes: Write[] = [objectPut, { kind: 'put', key, value, leaseId }];
      return (await this.#metadata.commit([condition], writes)).succeeded;
    }, options);
  }

  #putOfObject(name: string, object: ObjectRecord): Write {
    const key = objectKey(name);
    return { kind: 'put', key, value: encodeObjectRecord(key, object) };
  }

  async #announceOver(announcement: Announcement, options: CallOptions): Promise<void> {
    const { name, object } = announcement;
    await this.#retryConflicts(name, options, async () => {
      const key = objectKey(name);
      const entry = await this.#metadata.get(key, options);
      const condition: Condition =
        entry === undefined ? { kind: 'absent', key } : { kind: 'unchanged', key, revision: entry.revision };
      return await this.#putBoth(announcement, condition, options);
    });
    await this.#sweepSources(name, object.generation).catch((error: unknown) => {
      this.#logger.warn({ name, error }, 'superseded sources stay listed until their leases end');
    });
  }

  /** Takes the sources of older generations off the list, as long as `generation` is the live one. */
  async #sweepSources(name: string, generation: string): Promise<void> {
    const { entries } = await this.#metadata.list(sourcesOfPrefix(name));
    for (const entry of entries) {
      const [listing] = this.#reader.readSources([entry]);
      if (listing?.source.generation === generation) continue;
      const found = await this.#reader.getObject(name, {});
      if (found?.record.generation !== generation) return;
      const unchanged: Condition = { kind: 'unchanged', key: entry.key, revision: entry.revision };
      await this.#metadata.commit([found.unchanged, unchanged], [{ kind: 'delete', key: entry.key }]);
    }
  }

  async #requireSame(name: string, generation: string, options: CallOptions): Promise<FoundRecord> {
    const found = await this.#reader.getObject(name, options);
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
}
