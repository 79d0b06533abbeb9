import type { Entry, WatchEvent } from '../metadata/metadata-store.ts';
import { FreshSources } from './fresh-sources.ts';
import type { FoundObject } from './object-reader.ts';
import { type PayloadInfo, payloadInfo } from './payload-info.ts';
import { objectKey, objectsPrefix, parseObjectKey, parseSourceKey, sourcesPrefix } from './record-keys.ts';
import type { ObjectRecord } from './records.ts';
import type { StoreParts } from './store-parts.ts';

/** `changed`: the name now stands for another object. */
export interface ObjectEvent {
  readonly kind: 'added' | 'changed' | 'removed';
  /** What is there now; of a removed object, what was. */
  readonly object: PayloadInfo;
}

/** Which objects are live: those with a record and a source. Remembers what the reader was told of each name. */
class ObjectTable {
  readonly #reader: StoreParts['reader'];
  readonly #objects = new Map<string, { readonly object: ObjectRecord; readonly revision: bigint }>();
  /** Keys of the source records, by the object's name. */
  readonly #sources = new Map<string, Set<string>>();
  readonly #fresh = new FreshSources();
  readonly #told = new Map<string, ObjectRecord>();
  /** Names that may differ from what was told: bounded by the number of names, however slow the reader. */
  readonly #dirty = new Set<string>();
  #wake: () => void = () => {};

  constructor(reader: StoreParts['reader']) {
    this.#reader = reader;
  }

  putObject(entry: Entry): void {
    const [listing] = this.#reader.readObjects([entry]);
    if (listing === undefined) return;
    this.#objects.set(listing.name, { object: listing.object, revision: entry.revision });
    this.#note(listing.name);
  }

  applyToObjects(events: readonly WatchEvent[]): void {
    for (const event of events) {
      if (event.kind === 'put') this.putObject(event.entry);
      else this.#deleteObject(parseObjectKey(event.key) ?? '');
    }
  }

  resetObjects(entries: readonly Entry[]): void {
    for (const name of [...this.#objects.keys()]) this.#deleteObject(name);
    for (const entry of entries) this.putObject(entry);
  }

  /** Takes note of a source record of which only the key is known. */
  addSource(key: string): void {
    const name = parseSourceKey(key)?.name;
    if (name !== undefined) this.#addSource(name, key);
  }

  applyToSources(events: readonly WatchEvent[]): void {
    for (const event of events) {
      if (event.kind === 'put') this.#putSource(event.entry);
      else this.#deleteSource(event.key);
    }
  }

  resetSources(entries: readonly Entry[]): void {
    for (const name of this.#sources.keys()) this.#note(name);
    this.#sources.clear();
    this.#fresh.clear();
    for (const { key } of entries) this.addSource(key);
  }

  /** @returns An object that was published while this watched, without asking for it again. */
  find(name: string): FoundObject | undefined {
    const known = this.#objects.get(name);
    const listing = this.#fresh.listingOf(name);
    if (known === undefined || listing === undefined) return undefined;
    const { object, revision } = known;
    const sources = this.#reader.readSources(listing.entries);
    const ofObject = sources.filter(({ source }) => source.generation === object.generation);
    if (ofObject.length === 0) return undefined;
    const unchanged = { kind: 'unchanged', key: objectKey(name), revision } as const;
    return { object, sources: ofObject, records: { unchanged, sources: listing } };
  }

  /** The next thing to tell, if there is one. */
  take(): ObjectEvent | undefined {
    for (const name of this.#dirty) {
      this.#dirty.delete(name);
      const object = this.#sources.has(name) ? this.#objects.get(name)?.object : undefined;
      const told = this.#told.get(name);
      if (object === undefined) {
        if (told === undefined) continue;
        this.#told.delete(name);
        return { kind: 'removed', object: payloadInfo(name, told) };
      }
      this.#told.set(name, object);
      if (told === undefined) return { kind: 'added', object: payloadInfo(name, object) };
      if (told.generation !== object.generation) return { kind: 'changed', object: payloadInfo(name, object) };
    }
    return undefined;
  }

  /** Resolves when there may be something to take. */
  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#dirty.size > 0) resolve();
    });
  }

  wake(): void {
    this.#wake();
  }

  #deleteObject(name: string): void {
    if (this.#objects.delete(name)) this.#note(name);
  }

  #putSource(entry: Entry): void {
    const name = parseSourceKey(entry.key)?.name;
    if (name === undefined) return;
    this.#fresh.put(name, entry, !this.#sources.has(name));
    this.#addSource(name, entry.key);
  }

  #addSource(name: string, key: string): void {
    this.#sources.set(name, (this.#sources.get(name) ?? new Set()).add(key));
    this.#note(name);
  }

  #deleteSource(key: string): void {
    const name = parseSourceKey(key)?.name;
    const keys = name === undefined ? undefined : this.#sources.get(name);
    if (name === undefined || keys === undefined) return;
    this.#fresh.delete(name, key);
    keys.delete(key);
    if (keys.size === 0) this.#sources.delete(name);
    this.#note(name);
  }

  #note(name: string): void {
    this.#dirty.add(name);
    this.#wake();
  }
}

/** The watches of one store that are open. */
export class ObjectWatches {
  readonly #tables = new Set<ObjectTable>();

  /** @returns An object that one of them has seen published, as it is now as far as that was told; undefined: none has. */
  find(name: string): FoundObject | undefined {
    for (const table of this.#tables) {
      const found = table.find(name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  open(reader: StoreParts['reader']): ObjectTable {
    const table = new ObjectTable(reader);
    this.#tables.add(table);
    return table;
  }

  close(table: ObjectTable): void {
    this.#tables.delete(table);
  }
}

/** @throws signal.reason When it fires. Ends quietly when the store closes. */
export async function* watchObjects(
  { metadata, reader, watches }: Pick<StoreParts, 'metadata' | 'reader' | 'watches'>,
  namePrefix: string,
  { signal, closing }: { readonly signal: AbortSignal | undefined; readonly closing: AbortSignal },
): AsyncGenerator<ObjectEvent, void> {
  signal?.throwIfAborted();
  const table = watches.open(reader);
  const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
  const wake = (): void => table.wake();
  either.addEventListener('abort', wake);
  try {
    const objects = await metadata.list(objectsPrefix(namePrefix), { signal: either });
    for (const entry of objects.entries) table.putObject(entry);
    const sources = await metadata.list(sourcesPrefix(namePrefix), { signal: either, keysOnly: true });
    for (const { key } of sources.entries) table.addSource(key);
    await using _objects = await metadata.watch(objectsPrefix(namePrefix), {
      fromRevision: objects.revision + 1n,
      onEvents: (events) => table.applyToObjects(events),
      onReset: (entries) => table.resetObjects(entries),
    });
    await using _sources = await metadata.watch(sourcesPrefix(namePrefix), {
      fromRevision: sources.revision + 1n,
      onEvents: (events) => table.applyToSources(events),
      onReset: (entries) => table.resetSources(entries),
    });
    while (!either.aborted) {
      const event = table.take();
      if (event === undefined) await table.changed();
      else yield event;
    }
  } catch (error) {
    if (!closing.aborted) throw error;
  } finally {
    watches.close(table);
    either.removeEventListener('abort', wake);
  }
  signal?.throwIfAborted();
}
