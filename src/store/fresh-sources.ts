import { type Clock, systemClock } from '../core/clock.ts';
import type { Entry, Listing } from '../metadata/metadata-store.ts';

/** For so long a pull does without reading the records again: longer ago they may have changed in ways that a caller knows of. */
const FRESH_MS = 1_000;
/** Objects whose sources are kept, and sources of each: what a pull that follows at once can use, and no more. */
const OBJECTS_MAX = 16;
const SOURCES_MAX = 64;

interface FreshObject {
  readonly sinceMs: number;
  readonly sources: Map<string, Entry>;
}

/**
 * All source records of objects that got their first one a moment ago, while they were watched. Who pulls such an object as soon as
 * the watch tells of it need not read them again.
 */
export class FreshSources {
  readonly #clock: Clock;
  readonly #objects = new Map<string, FreshObject>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** @param isFirst - Nobody else is listed as a source. */
  put(name: string, entry: Entry, isFirst: boolean): void {
    if (isFirst) this.#begin(name);
    const sources = this.#objects.get(name)?.sources;
    if (sources === undefined) return;
    sources.set(entry.key, entry);
    if (sources.size > SOURCES_MAX) this.#objects.delete(name);
  }

  delete(name: string, key: string): void {
    this.#objects.get(name)?.sources.delete(key);
  }

  clear(): void {
    this.#objects.clear();
  }

  /** @returns What was listed as of the last record that was written; undefined when that is not known, or not fresh. */
  listingOf(name: string): Listing | undefined {
    const object = this.#objects.get(name);
    if (object === undefined || this.#clock.nowMs() - object.sinceMs > FRESH_MS) return undefined;
    const entries = [...object.sources.values()];
    return { entries, revision: lastRevision(entries) };
  }

  #begin(name: string): void {
    this.#objects.delete(name);
    this.#objects.set(name, { sinceMs: this.#clock.nowMs(), sources: new Map() });
    if (this.#objects.size <= OBJECTS_MAX) return;
    const [oldest] = this.#objects.keys();
    if (oldest !== undefined) this.#objects.delete(oldest);
  }
}

function lastRevision(entries: readonly Entry[]): bigint {
  let last = 0n;
  for (const { revision } of entries) if (revision > last) last = revision;
  return last;
}
