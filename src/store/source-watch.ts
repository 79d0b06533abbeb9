import type { CallOptions, Entry, MetadataStore, WatchEvent } from '../metadata/metadata-store.ts';
import type { SourceFeed, SourceInfo } from '../swarm/source-feed.ts';
import type { FoundObject, ListedSource, ObjectReader } from './object-reader.ts';
import { objectKey, parseSourceKey, sourceRing } from './record-keys.ts';
import type { SourceRecord } from './records.ts';
import { RingArc } from './ring-arc.ts';

export interface SourceWatchOptions extends CallOptions {
  readonly metadata: MetadataStore;
  readonly reader: ObjectReader;
  readonly name: string;
  readonly generation: string;
  /** This store, which is no source to itself. */
  readonly ownSegment: string;
  /** Looks at all sources, however many; by default at enough of them, see {@link RingArc}. */
  readonly isWhole?: boolean;
  /** The object as it has just been found; absent: reads all records. */
  readonly found?: FoundObject;
  /** Another object took the name. Called once at most. */
  readonly onSuperseded: () => void;
}

export function sourceInfo(segment: string, record: SourceRecord): SourceInfo {
  const { role, isComplete, peerEndpoint, peerAddresses, generation, addresses, sizes } = record;
  const ranges = addresses.map((address, index) => ({ address, lengthBytes: sizes[index] ?? 0 }));
  return { segment, role, isComplete, peerEndpoint, peerAddresses, generation, ranges };
}

/** The sources of one object as the metadata store lists them, and its digest root, kept up to date until closed. */
export class SourceWatch implements SourceFeed, AsyncDisposable {
  readonly #options: SourceWatchOptions;
  readonly #sources = new Map<string, SourceInfo>();
  readonly #listeners = new Set<() => void>();
  #isSuperseded = false;
  #digestRoot: string | undefined;
  readonly #watches: AsyncDisposable[] = [];
  readonly #opening: Promise<unknown>;

  /** Resolves when all that is listed is shown, and all that changes will be. */
  readonly opened: Promise<void>;

  constructor(options: SourceWatchOptions) {
    this.#options = options;
    const { found } = options;
    if (found?.records?.sources !== undefined) for (const listing of found.sources) this.#show(listing);
    const opening = Promise.allSettled([this.#watchSources(), this.#watchObject()]);
    this.#opening = opening;
    this.opened = opening.then((outcomes) => {
      const failed = outcomes.find((outcome) => outcome.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    });
    this.opened.catch(() => {}); // told to whoever waits for it
  }

  /** @returns When it is {@link opened}. */
  static async open(options: SourceWatchOptions): Promise<SourceWatch> {
    const watch = new SourceWatch(options);
    try {
      await watch.opened;
      return watch;
    } catch (error) {
      await watch.close();
      throw error;
    }
  }

  /** The root of the object's digests in hex, once its record says it. */
  get digestRoot(): string | undefined {
    return this.#digestRoot;
  }

  current(): readonly SourceInfo[] {
    return [...this.#sources.values()];
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#opening;
    await Promise.all(this.#watches.map((watch) => watch[Symbol.asyncDispose]()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #watchSources(): Promise<void> {
    const { metadata, name, isWhole = false, found, signal } = this.#options;
    const arc = await RingArc.open({
      metadata,
      ring: sourceRing(name),
      isWhole,
      listed: found?.records?.sources,
      signal,
      onListed: (entries) => this.#relist(entries),
      onEvents: (events) => this.#apply(events),
    });
    this.#watches.push(arc);
  }

  async #watchObject(): Promise<void> {
    const { metadata, name } = this.#options;
    const watch = await metadata.watch(objectKey(name), {
      fromRevision: (await this.#objectRevision()) + 1n,
      onEvents: (events) => this.#readObject(events.flatMap((event) => (event.kind === 'put' ? [event.entry] : []))),
      onReset: (entries) => this.#readObject(entries),
    });
    this.#watches.push(watch);
  }

  /** @returns Of the object record as it was read. */
  async #objectRevision(): Promise<bigint> {
    const { metadata, name, found, signal } = this.#options;
    if (found?.records !== undefined) {
      this.#digestRoot = found.object.digest.root;
      return found.records.unchanged.revision;
    }
    const { entries, revision } = await metadata.list(objectKey(name), { ...(signal && { signal }) });
    this.#readObject(entries);
    return revision;
  }

  #readObject(entries: readonly Entry[]): void {
    for (const { object } of this.#options.reader.readObjects(entries)) {
      if (object.generation === this.#options.generation) this.#digestRoot = object.digest.root;
      else this.#noteReplaced();
    }
  }

  #put(entry: Entry): 'ours' | 'replaced' | undefined {
    const [listing] = this.#options.reader.readSources([entry]);
    return listing && this.#show(listing);
  }

  #show({ segment, source }: ListedSource): 'ours' | 'replaced' | undefined {
    if (segment === this.#options.ownSegment) return undefined;
    if (source.generation === this.#options.generation) {
      this.#sources.set(segment, sourceInfo(segment, source));
      return 'ours';
    }
    this.#sources.delete(segment);
    return 'replaced';
  }

  #apply(events: readonly WatchEvent[]): void {
    for (const event of events) {
      const segment = parseSourceKey(event.kind === 'put' ? event.entry.key : event.key)?.segment;
      if (event.kind === 'put' && this.#put(event.entry) === 'replaced') this.#noteReplaced();
      if (event.kind === 'delete' && segment !== undefined) this.#sources.delete(segment);
    }
    this.#notify();
  }

  /** A source of another generation that is listed may be a leftover of an older one: the object record tells which is ours. */
  #relist(entries: readonly Entry[]): void {
    this.#sources.clear();
    for (const entry of entries) this.#put(entry);
    this.#notify();
  }

  /** The object record, or a source that is put now, is of another generation: it is only ever put beside the object of its own. */
  #noteReplaced(): void {
    if (this.#isSuperseded) return;
    this.#isSuperseded = true;
    this.#options.onSuperseded();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
