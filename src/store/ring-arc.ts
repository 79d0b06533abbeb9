import { randomInt } from 'node:crypto';
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import type { Entry, Listing, MetadataStore, Watch, WatchEvent } from '../metadata/metadata-store.ts';
import { ARC_DIGITS, type RingKeys } from './record-keys.ts';

/** Stores to look at: above the first number the arc is halved, below the second it is doubled. */
const STORES_MAX = 256;
const STORES_MIN = 32;
const STORES_AIM = 128;
const RETRY = { firstMs: 200, maxMs: 5_000 };

export interface RingArcOptions {
  readonly metadata: MetadataStore;
  readonly ring: RingKeys;
  /** Looks at all stores, however many. */
  readonly isWhole: boolean;
  /** All records, when they have just been read: `onListed` is not called for these. */
  readonly listed?: Listing | undefined;
  /** Ends the opening. */
  readonly signal: AbortSignal | undefined;
  /** All that is in view now. Called before `open` resolves, and whenever the view has moved. */
  readonly onListed: (entries: readonly Entry[]) => void;
  readonly onEvents: (events: readonly WatchEvent[]) => void;
}

/**
 * Records of many stores about one object, of which this store looks at a part. While there are few it is all of them. When
 * they are many it is an arc: the places of stores are spread evenly over a ring, and each store looks at a part of the ring that it
 * chose by chance and that is as long as it takes to hold some 32 to 256 of them. So what a store reads does not grow with
 * the swarm, and who knows whom stays random. Gold sources stand apart from the ring and are in view always.
 */
export class RingArc implements AsyncDisposable {
  readonly #options: RingArcOptions;
  readonly #closed = new AbortController();
  /** First binary digits of the places in view; empty: all. */
  #arc = '';
  readonly #onRing = new Set<string>();
  #watches: Watch[] = [];
  #moving: Promise<void> | undefined;

  private constructor(options: RingArcOptions) {
    this.#options = options;
  }

  static async open(options: RingArcOptions): Promise<RingArc> {
    const opened = new RingArc(options);
    try {
      if (options.listed === undefined) await opened.#look('', options.signal);
      else await opened.#watch('', [options.listed]);
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#moving;
    await this.#closeWatches();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Lists and watches an arc, or a part of it when it holds too many. */
  async #look(arc: string, signal: AbortSignal | undefined): Promise<void> {
    const { metadata, ring, isWhole, onListed } = this.#options;
    const options = { ...(signal && { signal }), ...(!isWhole && { limit: STORES_MAX + 1 }) };
    const listed = await Promise.all(this.#prefixes(arc).map((prefix) => metadata.list(prefix, options)));
    const inArc = listed.at(-1)?.entries ?? [];
    if (!isWhole && inArc.length > STORES_MAX && arc.length < ARC_DIGITS) {
      return await this.#look(narrower(ring, arc, inArc), signal);
    }
    onListed(listed.flatMap(({ entries }) => entries));
    await this.#watch(arc, listed);
  }

  #prefixes(arc: string): readonly string[] {
    const { ring } = this.#options;
    return arc === '' ? [ring.all] : [...ring.apart, ring.arc(arc)];
  }

  /** @param listed - What the prefixes of the arc held. */
  async #watch(arc: string, listed: readonly Listing[]): Promise<void> {
    this.#arc = arc;
    this.#onRing.clear();
    for (const { key } of listed.flatMap(({ entries }) => entries)) this.#count(key, true);
    for (const [index, prefix] of this.#prefixes(arc).entries()) {
      const watch = await this.#options.metadata.watch(prefix, {
        fromRevision: (listed[index]?.revision ?? 0n) + 1n,
        onEvents: (events) => this.#onEvents(events),
        onReset: () => this.#move(arc),
      });
      this.#watches.push(watch);
    }
  }

  #onEvents(events: readonly WatchEvent[]): void {
    for (const event of events) {
      if (event.kind === 'put') this.#count(event.entry.key, true);
      else this.#count(event.key, false);
    }
    this.#options.onEvents(events);
    const better = this.#betterArc();
    if (better !== undefined) this.#move(better);
  }

  /** Half the arc when it holds too many, twice the arc when it holds too few. */
  #betterArc(): string | undefined {
    if (this.#options.isWhole) return undefined;
    if (this.#onRing.size > STORES_MAX && this.#arc.length < ARC_DIGITS) return this.#arc + digits(1);
    if (this.#onRing.size < STORES_MIN && this.#arc !== '') return this.#arc.slice(0, -1);
    return undefined;
  }

  #count(key: string, isThere: boolean): void {
    if (this.#options.ring.placeOf(key) === undefined) return;
    if (isThere) this.#onRing.add(key);
    else this.#onRing.delete(key);
  }

  /** Looks at another arc, or at the same one anew; tries until it can. */
  #move(arc: string): void {
    if (this.#closed.signal.aborted) return;
    this.#moving ??= this.#moveUntilDone(arc)
      .catch(() => {}) // closed
      .finally(() => {
        this.#moving = undefined;
      });
  }

  async #moveUntilDone(arc: string): Promise<void> {
    let next: string | undefined = arc;
    for (let failures = 0; next !== undefined; ) {
      try {
        await this.#closeWatches(); // first: what an old watch says later would contradict the new list
        await this.#look(next, this.#closed.signal);
        next = this.#betterArc();
      } catch {
        await sleep(backoffMs(failures++, RETRY), this.#closed.signal);
      }
    }
  }

  async #closeWatches(): Promise<void> {
    const watches = this.#watches;
    this.#watches = [];
    await Promise.all(watches.map((watch) => watch.close()));
  }
}

function digits(count: number): string {
  return Array.from({ length: count }, () => randomInt(2)).join('');
}

/** A part of an arc for {@link STORES_AIM} stores, from the first of them that were listed, in the order of their places. */
function narrower(ring: RingKeys, arc: string, first: readonly Entry[]): string {
  const last = ring.placeOf(first.at(-1)?.key ?? '') ?? '';
  const beyond = last.slice(arc.length);
  const covered = (Number.parseInt(beyond || '0', 2) + 1) / 2 ** beyond.length;
  const depth = Math.floor(Math.log2(first.length / covered / STORES_AIM));
  return arc + digits(Math.min(Math.max(depth, 1), ARC_DIGITS - arc.length));
}
