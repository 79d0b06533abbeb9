/** Reads the records of objects, and deletes those of objects that nobody serves any more. */
import type { CallOptions, Condition, Entry, Listing, MetadataStore } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import {
  objectKey,
  objectsPrefix,
  parseObjectKey,
  parseSourceKey,
  sourcesOfPrefix,
  sourcesPrefix,
} from './record-keys.ts';
import { decodeObjectRecord, decodeSourceRecord, type ObjectRecord, type SourceRecord } from './records.ts';

/** Leftover records that one `list` deletes; the next one deletes more. */
const LEFTOVERS_MAX = 64;
/** Sources that are read of an object, where not all are asked for: gold sources come first. */
const SOURCES_MAX = 64;
/** Both records are read one after the other; an object replaced in between is read again. */
const FIND_ATTEMPTS_MAX = 4;

export interface ListedObject {
  readonly name: string;
  readonly object: ObjectRecord;
}

export interface ListedSource {
  readonly segment: string;
  readonly source: SourceRecord;
}

export interface FoundObject {
  readonly object: ObjectRecord;
  /** Of the same generation; at least one. Of many only some, unless all were asked for. */
  readonly sources: readonly ListedSource[];
  /** Absent when it is no object of ours. */
  readonly records?: FoundRecords;
}

/** The records that an object was read from, for who goes on from there without reading them again. */
export interface FoundRecords {
  /** That nobody has changed the object record since. */
  readonly unchanged: Unchanged;
  /** Of all sources, as of one revision; absent when there were more than were read. */
  readonly sources?: Listing;
}

type Unchanged = Extract<Condition, { kind: 'unchanged' }>;

export class ObjectReader {
  readonly #metadata: MetadataStore;
  readonly #logger: Logger;

  constructor(metadata: MetadataStore, logger: Logger) {
    this.#metadata = metadata;
    this.#logger = logger;
  }

  /**
   * @param options.isWhole - Reads all sources, however many there are.
   * @returns The object and its sources; undefined when none is live.
   * @throws P2P_RECORD_INVALID The object record is not one of ours.
   */
  async find(
    name: string,
    { isWhole = false, ...options }: CallOptions & { readonly isWhole?: boolean } = {},
  ): Promise<FoundObject | undefined> {
    for (let attempt = 0; attempt < FIND_ATTEMPTS_MAX; attempt++) {
      const found = await this.getObject(name, options);
      if (found === undefined) return undefined;
      const limit = isWhole || attempt > 0 ? Number.POSITIVE_INFINITY : SOURCES_MAX;
      const listing = await this.#metadata.list(sourcesOfPrefix(name), {
        ...options,
        ...(Number.isFinite(limit) && { limit }),
      });
      const { entries } = listing;
      const { record: object, unchanged } = found;
      const sources = this.readSources(entries).filter(({ source }) => source.generation === object.generation);
      const records = { unchanged, ...(entries.length < limit && { sources: listing }) };
      if (sources.length > 0) return { object, sources, records };
      if (entries.length === 0) return undefined;
    }
    return undefined;
  }

  /** @returns The object record, live or not, and the condition that nobody has changed it since. */
  async getObject(
    name: string,
    options: CallOptions,
  ): Promise<{ readonly record: ObjectRecord; readonly unchanged: Unchanged } | undefined> {
    const key = objectKey(name);
    const entry = await this.#metadata.get(key, options);
    if (entry === undefined) return undefined;
    const unchanged = { kind: 'unchanged', key, revision: entry.revision } as const;
    return { record: decodeObjectRecord(key, entry.value), unchanged };
  }

  /** Decodes source records; a bad one is logged and left out, so that it hurts nobody but its writer. */
  readSources(entries: readonly Entry[]): ListedSource[] {
    return entries.flatMap((entry) => {
      const segment = parseSourceKey(entry.key)?.segment;
      const source = this.#tolerate(entry, decodeSourceRecord);
      return segment === undefined || source === undefined ? [] : [{ segment, source }];
    });
  }

  /** Decodes object records, as {@link readSources} does. */
  readObjects(entries: readonly Entry[]): ListedObject[] {
    return entries.flatMap((entry) => {
      const name = parseObjectKey(entry.key);
      const object = this.#tolerate(entry, decodeObjectRecord);
      return name === undefined || object === undefined ? [] : [{ name, object }];
    });
  }

  /** @returns Live objects whose name starts with `namePrefix`, by name. Deletes leftovers on the way. */
  async list(namePrefix: string, options: CallOptions = {}): Promise<ListedObject[]> {
    // Objects first: one that is registered in between is missed, but never taken for a leftover.
    const objects = await this.#metadata.list(objectsPrefix(namePrefix), options);
    const sources = await this.#metadata.list(sourcesPrefix(namePrefix), { ...options, keysOnly: true });
    const served = new Set(sources.entries.map(({ key }) => parseSourceKey(key)?.name));
    const isLive = (entry: Entry): boolean => served.has(parseObjectKey(entry.key));
    await this.#deleteLeftovers(objects.entries.filter((entry) => !isLive(entry)));
    const listings = this.readObjects(objects.entries.filter(isLive));
    return listings.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @returns false when somebody else changed the object or serves it: read again. */
  async deleteIfUnserved(name: string, options: CallOptions = {}): Promise<boolean> {
    const { entries } = await this.#metadata.list(sourcesOfPrefix(name), { ...options, keysOnly: true, limit: 1 });
    if (entries.length > 0) return true;
    const entry = await this.#metadata.get(objectKey(name), options);
    return entry === undefined || (await this.#deleteLeftover(entry));
  }

  async #deleteLeftover({ key, revision }: Entry): Promise<boolean> {
    const name = parseObjectKey(key);
    if (name === undefined) return true;
    const conditions: Condition[] = [
      { kind: 'prefix-empty', prefix: sourcesOfPrefix(name) },
      { kind: 'unchanged', key, revision },
    ];
    return (await this.#metadata.commit(conditions, [{ kind: 'delete', key }])).succeeded;
  }

  /** Best effort: a reader must not fail over what others left behind. */
  async #deleteLeftovers(entries: readonly Entry[]): Promise<void> {
    const deleted = entries.slice(0, LEFTOVERS_MAX).map((entry) => this.#deleteLeftover(entry));
    const failed = (await Promise.allSettled(deleted)).find((result) => result.status === 'rejected');
    if (failed !== undefined) this.#logger.warn({ error: failed.reason }, 'leftover object records not deleted');
  }

  #tolerate<T>(entry: Entry, decode: (key: string, value: Uint8Array) => T): T | undefined {
    try {
      return decode(entry.key, entry.value);
    } catch (error) {
      this.#logger.warn({ key: entry.key, error }, 'bad record ignored');
      return undefined;
    }
  }
}
