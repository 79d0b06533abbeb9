import type { Slice } from './slice.ts';

/**
 * Slices of one peer that no connection has taken yet. First come, first served within a flow; the flow with the least bytes
 * under way goes first, so that under a download limit every object has work in the I/O workers, which share it out.
 * Without a limit all slices are of one flow.
 */
export class SliceQueue {
  readonly #lines = new Map<number, Slice[]>();
  readonly #takenBytes = new Map<number, number>();
  #length = 0;
  #bytes = 0;

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(slice: Slice): void {
    this.#lineOf(slice).push(slice);
    this.#count(slice, 1);
  }

  /** Puts a slice that was taken in front of all others of its flow. */
  unshift(slice: Slice): void {
    this.#lineOf(slice).unshift(slice);
    this.#count(slice, 1);
  }

  #lineOf({ progress: { flow } }: Slice): Slice[] {
    const line = this.#lines.get(flow) ?? [];
    this.#lines.set(flow, line);
    return line;
  }

  #count({ lengthBytes }: Slice, sign: 1 | -1): void {
    this.#length += sign;
    this.#bytes += sign * lengthBytes;
  }

  /** The next one goes to a connection. */
  take(): Slice | undefined {
    let best: Slice[] | undefined;
    let flow = 0;
    let least = Number.POSITIVE_INFINITY;
    for (const [candidate, line] of this.#lines) {
      const takenBytes = this.#takenBytes.get(candidate) ?? 0;
      if (takenBytes < least) [best, flow, least] = [line, candidate, takenBytes];
    }
    const slice = best?.shift();
    if (slice === undefined) return undefined;
    if (best?.length === 0) this.#lines.delete(flow);
    this.#takenBytes.set(flow, least + slice.lengthBytes);
    this.#count(slice, -1);
    return slice;
  }

  /** A slice that was taken has come back, done or not. */
  settle({ progress: { flow }, lengthBytes }: Slice): void {
    const takenBytes = (this.#takenBytes.get(flow) ?? 0) - lengthBytes;
    if (takenBytes > 0) this.#takenBytes.set(flow, takenBytes);
    else this.#takenBytes.delete(flow);
  }

  /** Takes out those of `slices` that are in the queue. */
  remove(slices: ReadonlySet<Slice>): Slice[] {
    const removed: Slice[] = [];
    for (const [flow, line] of this.#lines) {
      const kept = line.filter((slice) => !slices.has(slice));
      if (kept.length === line.length) continue;
      removed.push(...line.filter((slice) => slices.has(slice)));
      if (kept.length > 0) this.#lines.set(flow, kept);
      else this.#lines.delete(flow);
    }
    for (const slice of removed) this.#count(slice, -1);
    return removed;
  }

  /** Takes out all. */
  clear(): Slice[] {
    const all = [...this.#lines.values()].flat();
    this.#lines.clear();
    this.#length = 0;
    this.#bytes = 0;
    return all;
  }
}
