import type { Entry, WatchEvent } from '../metadata/metadata-store.ts';
import { type PayloadInfo, payloadInfo } from './payload-info.ts';
import { objectsPrefix, parseObjectKey, parseSourceKey, sourcesPrefix } from './record-keys.ts';
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
  readonly #objects = new Map<string, ObjectRecord>();
  readonly #sources = new Map<string, Set<string>>();
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
    this.#objects.set(listing.name, listing.object);
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

  putSource(key: string): void {
    const parsed = parseSourceKey(key);
    if (parsed === undefined) return;
    const segments = this.#sources.get(parsed.name) ?? new Set();
    this.#sources.set(parsed.name, segments.add(parsed.segment));
    this.#note(parsed.name);
  }

  applyToSources(events: readonly WatchEvent[]): void {
    for (const event of events) {
      if (event.kind === 'put') this.putSource(event.entry.key);
      else this.#deleteSource(event.key);
    }
  }

  resetSources(entries: readonly Entry[]): void {
    for (const name of this.#sources.keys()) this.#note(name);
    this.#sources.clear();
    for (const { key } of entries) this.putSource(key);
  }

  /** The next thing to tell, if there is one. */
  take(): ObjectEvent | undefined {
    for (const name of this.#dirty) {
      this.#dirty.delete(name);
      const object = this.#sources.has(name) ? this.#objects.get(name) : undefined;
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

  #deleteSource(key: string): void {
    const parsed = parseSourceKey(key);
    const segments = parsed === undefined ? undefined : this.#sources.get(parsed.name);
    if (parsed === undefined || segments === undefined) return;
    segments.delete(parsed.segment);
    if (segments.size === 0) this.#sources.delete(parsed.name);
    this.#note(parsed.name);
  }

  #note(name: string): void {
    this.#dirty.add(name);
    this.#wake();
  }
}

/** @throws signal.reason When it fires. Ends quietly when the store closes. */
export async function* watchObjects(
  { metadata, reader }: Pick<StoreParts, 'metadata' | 'reader'>,
  namePrefix: string,
  { signal, closing }: { readonly signal: AbortSignal | undefined; readonly closing: AbortSignal },
): AsyncGenerator<ObjectEvent, void> {
  signal?.throwIfAborted();
  const table = new ObjectTable(reader);
  const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
  const wake = (): void => table.wake();
  either.addEventListener('abort', wake);
  try {
    const objects = await metadata.list(objectsPrefix(namePrefix), { signal: either });
    for (const entry of objects.entries) table.putObject(entry);
    const sources = await metadata.list(sourcesPrefix(namePrefix), { signal: either, keysOnly: true });
    for (const { key } of sources.entries) table.putSource(key);
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
    either.removeEventListener('abort', wake);
  }
  signal?.throwIfAborted();
}
