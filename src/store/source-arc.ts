import { randomInt } from 'node:crypto';
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import type { Entry, MetadataStore, Watch, WatchEvent } from '../metadata/metadata-store.ts';
import { ARC_DIGITS, arcPrefix, goldsPrefix, parseSourceKey, sourcesOfPrefix } from './record-keys.ts';

/** Replicas to look at: above the first number the arc is halved, below the second it is doubled. */
const REPLICAS_MAX = 256;
const REPLICAS_MIN = 32;
const REPLICAS_AIM = 128;
const RETRY = { firstMs: 200, maxMs: 5_000 };

export interface SourceArcOptions {
  readonly metadata: MetadataStore;
  readonly name: string;
  /** Looks at all sources, however many. */
  readonly isWhole: boolean;
  /** Ends the opening. */
  readonly signal: AbortSignal | undefined;
  /** All that is in view now. Called before `open` resolves, and whenever the view has moved. */
  readonly onListed: (entries: readonly Entry[]) => void;
  readonly onEvents: (events: readonly WatchEvent[]) => void;
}

/**
 * The source records of one object that this store looks at. While there are few it is all of them. When they are many it
 * is the gold sources and the replicas of an arc: their places are spread evenly over a ring, and each store looks at a
 * part of the ring that it chose by chance and that is as long as it takes to hold some 32 to 256 of them. So what a store reads does
 * not grow with the swarm, and who knows whom stays random.
 */
export class SourceArc implements AsyncDisposable {
  readonly #options: SourceArcOptions;
  readonly #closed = new AbortController();
  /** First binary digits of the places in view; empty: all. */
  #arc = '';
  readonly #replicas = new Set<string>();
  #watches: Watch[] = [];
  #moving: Promise<void> | undefined;

  private constructor(options: SourceArcOptions) {
    this.#options = options;
  }

  static async open(options: SourceArcOptions): Promise<SourceArc> {
    const opened = new SourceArc(options);
    try {
      await opened.#look('', options.signal);
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
    const { metadata, name, isWhole, onListed } = this.#options;
    const options = { ...(signal && { signal }), ...(!isWhole && { limit: REPLICAS_MAX + 1 }) };
    const prefixes = arc === '' ? [sourcesOfPrefix(name)] : [goldsPrefix(name), arcPrefix(name, arc)];
    const listed = await Promise.all(prefixes.map((prefix) => metadata.list(prefix, options)));
    const entries = listed.flatMap((listing) => listing.entries);
    const inArc = listed.at(-1)?.entries ?? [];
    if (!isWhole && inArc.length > REPLICAS_MAX && arc.length < ARC_DIGITS) {
      return await this.#look(narrower(arc, inArc), signal);
    }
    this.#arc = arc;
    this.#replicas.clear();
    for (const { key } of entries) this.#count(key, true);
    onListed(entries);
    for (const [index, prefix] of prefixes.entries()) {
      const watch = await metadata.watch(prefix, {
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
    if (this.#replicas.size > REPLICAS_MAX && this.#arc.length < ARC_DIGITS) return this.#arc + digits(1);
    if (this.#replicas.size < REPLICAS_MIN && this.#arc !== '') return this.#arc.slice(0, -1);
    return undefined;
  }

  #count(key: string, isThere: boolean): void {
    if (parseSourceKey(key)?.role !== 'replica') return;
    if (isThere) this.#replicas.add(key);
    else this.#replicas.delete(key);
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

/** A part of an arc for {@link REPLICAS_AIM} replicas, from the first of them that were listed, in the order of their places. */
function narrower(arc: string, first: readonly Entry[]): string {
  const last = parseSourceKey(first.at(-1)?.key ?? '')?.place ?? '';
  const beyond = last.slice(arc.length);
  const covered = (Number.parseInt(beyond || '0', 2) + 1) / 2 ** beyond.length;
  const depth = Math.floor(Math.log2(first.length / covered / REPLICAS_AIM));
  return arc + digits(Math.min(Math.max(depth, 1), ARC_DIGITS - arc.length));
}
