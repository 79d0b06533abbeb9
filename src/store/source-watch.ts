import type { CallOptions, Entry, MetadataStore, Watch, WatchEvent } from '../metadata/metadata-store.ts';
import type { SourceFeed, SourceInfo } from '../swarm/source-feed.ts';
import type { ObjectReader } from './object-reader.ts';
import { parseSourceKey, sourcesOfPrefix } from './record-keys.ts';
import type { SourceRecord } from './records.ts';

export interface SourceWatchOptions extends CallOptions {
  readonly metadata: MetadataStore;
  readonly reader: ObjectReader;
  readonly name: string;
  readonly generation: string;
  /** This store, which is no source to itself. */
  readonly ownSegment: string;
  /** Another object took the name. Called once at most. */
  readonly onSuperseded: () => void;
}

export function sourceInfo(segment: string, record: SourceRecord): SourceInfo {
  const { role, isComplete, peerEndpoint, generation, addresses, sizes } = record;
  const ranges = addresses.map((address, index) => ({ address, lengthBytes: sizes[index] ?? 0 }));
  return { segment, role, isComplete, peerEndpoint, generation, ranges };
}

/** The sources of one object as the metadata store lists them, kept up to date until closed. */
export class SourceWatch implements SourceFeed, AsyncDisposable {
  readonly #options: SourceWatchOptions;
  readonly #sources = new Map<string, SourceInfo>();
  readonly #listeners = new Set<() => void>();
  readonly #olderGenerations = new Set<string>();
  #isListed = false;
  #isSuperseded = false;
  #watch: Watch | undefined;

  private constructor(options: SourceWatchOptions) {
    this.#options = options;
  }

  static async open(options: SourceWatchOptions): Promise<SourceWatch> {
    const opened = new SourceWatch(options);
    const prefix = sourcesOfPrefix(options.name);
    const callOptions = options.signal === undefined ? {} : { signal: options.signal };
    const listed = await options.metadata.list(prefix, callOptions);
    for (const entry of listed.entries) opened.#put(entry);
    opened.#isListed = true;
    opened.#watch = await options.metadata.watch(prefix, {
      fromRevision: listed.revision + 1n,
      onEvents: (events) => opened.#apply(events),
      onReset: (entries) => opened.#reset(entries),
    });
    return opened;
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
    await this.#watch?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #put(entry: Entry): void {
    const [listing] = this.#options.reader.readSources([entry]);
    if (listing === undefined || listing.segment === this.#options.ownSegment) return;
    const { segment, source } = listing;
    if (source.generation === this.#options.generation) {
      this.#sources.set(segment, sourceInfo(segment, source));
      return;
    }
    this.#sources.delete(segment);
    if (!this.#isListed) this.#olderGenerations.add(source.generation);
    else this.#noteGeneration(source.generation);
  }

  #apply(events: readonly WatchEvent[]): void {
    for (const event of events) {
      const segment = parseSourceKey(event.kind === 'put' ? event.entry.key : event.key)?.segment;
      if (event.kind === 'put') this.#put(event.entry);
      else if (segment !== undefined) this.#sources.delete(segment);
    }
    this.#notify();
  }

  #reset(entries: readonly Entry[]): void {
    this.#sources.clear();
    for (const entry of entries) this.#put(entry);
    this.#notify();
  }

  /**
   * A source is only ever put beside the object of its generation, so one of another generation says that the object
   * was replaced, unless it was there before.
   */
  #noteGeneration(generation: string): void {
    if (this.#isSuperseded || this.#olderGenerations.has(generation)) return;
    this.#isSuperseded = true;
    this.#options.onSuperseded();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
