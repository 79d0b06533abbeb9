import { sleep } from '../../core/abort.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { DownloadSource } from '../../swarm/download-types.ts';
import type { SourceFeed, SourceInfo } from '../../swarm/source-feed.ts';
import { countPieces, type ObjectRecord, totalSizeBytes } from '../records.ts';
import { completeCopies, isSameObject, type PayloadCopy } from './payload-object.ts';
import type { FoundPayload, PayloadReader } from './payload-reader.ts';

/** How often the record is looked at: a source that comes or goes is noticed by then. A comparison in the metadata store, no read. */
const LOOK_MS = 2_000;

export interface PayloadFeedOptions {
  readonly name: string;
  readonly object: ObjectRecord;
  /** Stores of ours that have some of the object. */
  readonly ours: SourceFeed;
  readonly payloads: Pick<PayloadReader, 'readReadable' | 'isUnchanged'>;
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * Sources of an object that a Mooncake store registered: stores of ours, and the copies that its record names. Those have no peer
 * service, hence no endpoint; they have all pieces or are not named here.
 *
 * Nothing tells whether their bytes are right. What can be told is that nobody took them back: a Mooncake store changes the record
 * before it frees the memory, so bytes are good if the record, read after they came, still names the place; see {@link confirm}.
 */
export class PayloadFeed implements SourceFeed, AsyncDisposable {
  readonly #options: PayloadFeedOptions;
  readonly #listeners = new Set<() => void>();
  readonly #closed = new AbortController();
  readonly #unsubscribe: () => void;
  /** Every copy that was ever offered to the pull, by segment. */
  readonly #offered = new Map<string, PayloadCopy>();
  #found: FoundPayload | undefined;
  #copies: readonly SourceInfo[] = [];
  #watching: Promise<void> = Promise.resolve();

  private constructor(options: PayloadFeedOptions) {
    this.#options = options;
    this.#unsubscribe = options.ours.onChange(() => this.#notify());
  }

  static async open(options: PayloadFeedOptions): Promise<PayloadFeed> {
    const feed = new PayloadFeed(options);
    try {
      await feed.#read(options.signal);
    } catch (error) {
      feed.#unsubscribe();
      throw error;
    }
    feed.#watching = feed.#watch();
    return feed;
  }

  current(): readonly SourceInfo[] {
    const ours = this.#options.ours.current();
    const known = new Set(ours.map(({ segment }) => segment));
    return [...ours, ...this.#copies.filter(({ segment }) => !known.has(segment))];
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Looks whether what was pulled was still there when it had come. Bytes of a complete replica of ours were confirmed by it.
   *
   * @param used - Where the bytes came from.
   * @throws P2P_NO_SOURCE A copy that the bytes came from, or may have come from, was taken back meanwhile.
   */
  async confirm(used: readonly DownloadSource[]): Promise<void> {
    const { name, object, ours, payloads, signal } = this.#options;
    const complete = new Set(ours.current().flatMap(({ segment, isComplete }) => (isComplete ? [segment] : [])));
    const doubtful = used.map(({ segment }) => segment).filter((segment) => !complete.has(segment));
    if (doubtful.length === 0) return;
    if (this.#found !== undefined && (await payloads.isUnchanged(name, this.#found.revision, { signal }))) return;
    // A partial replica of ours may have its bytes from any of them.
    const places = doubtful.every((segment) => this.#offered.has(segment)) ? doubtful : [...this.#offered.keys()];
    const now = await payloads.readReadable(name, { signal });
    const copies = now === undefined ? [] : completeCopies(now.payload); // also of those that have left in good order
    const listed = new Map(copies.map((copy) => [copy.segment, copy]));
    const gone = places.filter((segment) => !isSameMemory(this.#offered.get(segment), listed.get(segment)));
    if (gone.length === 0 && now !== undefined) return;
    throw new P2PStoreError(
      ErrorCode.NoSource,
      `Cannot pull object "${name}": ${gone.join(', ') || 'its Mooncake store'} took it back while it was copied`,
      { name, missingPieces: countPieces(object), missingBytes: totalSizeBytes(object.sizes) },
    );
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#unsubscribe();
    this.#listeners.clear();
    await this.#watching;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #watch(): Promise<void> {
    const { name, payloads, signal, logger } = this.#options;
    const either = AbortSignal.any([signal, this.#closed.signal]);
    while (!either.aborted) {
      try {
        await sleep(LOOK_MS, either);
        const revision = this.#found?.revision;
        if (revision !== undefined && (await payloads.isUnchanged(name, revision, { signal: either }))) continue;
        await this.#read(either);
        this.#notify();
      } catch (error) {
        if (!either.aborted) logger.warn({ name, error }, 'Mooncake record not read');
      }
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { name, object, payloads } = this.#options;
    const found = await payloads.readReadable(name, { signal });
    this.#found = found;
    const copies = found !== undefined && isSameObject(found.payload, found.object, object) ? found.copies : [];
    for (const copy of copies) if (!this.#offered.has(copy.segment)) this.#offered.set(copy.segment, copy);
    this.#copies = copies
      .filter((copy) => isSameMemory(copy, this.#offered.get(copy.segment)))
      .map((copy) => ({ ...copy, isComplete: true, peerEndpoint: '', generation: object.generation }));
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function isSameMemory(one: PayloadCopy | undefined, other: PayloadCopy | undefined): boolean {
  if (one === undefined || other === undefined) return false;
  return one.ranges.every(({ address }, index) => address === other.ranges[index]?.address);
}
