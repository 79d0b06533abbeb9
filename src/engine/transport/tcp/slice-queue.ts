import type { RequestProgress, Slice } from './slice.ts';

/** Slices of one request, in order. */
type Run = Slice[];

/** The flow of everything when there is no limit. */
const UNLIMITED = 0;

/**
 * Slices of one peer that no connection has taken yet. Without a limit they are all of one flow: first come, first served.
 * Under a download limit the flow with the least bytes under way goes first, so that every object has work in the I/O workers,
 * which share it out; and the requests of a flow take turns, so that each is seen to make headway however long it takes.
 */
export class SliceQueue {
  readonly #lines = new Map<number, Run[]>();
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
    const line = this.#lineOf(slice.progress);
    const last = line.at(-1);
    if (last?.[0]?.progress === slice.progress) last.push(slice);
    else line.push([slice]);
    this.#count(slice, 1);
  }

  /** Puts a slice that was taken in front of all others of its flow. */
  unshift(slice: Slice): void {
    this.#lineOf(slice.progress).unshift([slice]);
    this.#count(slice, 1);
  }

  #lineOf({ flow }: RequestProgress): Run[] {
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
    let flow: number | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const candidate of this.#lines.keys()) {
      const takenBytes = this.#takenBytes.get(candidate) ?? 0;
      if (takenBytes < least) [flow, least] = [candidate, takenBytes];
    }
    const slice = flow === undefined ? undefined : this.#takeOf(flow);
    if (flow === undefined || slice === undefined) return undefined;
    this.#takenBytes.set(flow, least + slice.lengthBytes);
    this.#count(slice, -1);
    return slice;
  }

  #takeOf(flow: number): Slice | undefined {
    const line = this.#lines.get(flow);
    const [run] = line ?? [];
    const slice = run?.shift();
    if (line === undefined || run === undefined) return undefined;
    if (run.length === 0 || flow !== UNLIMITED) line.shift();
    if (run.length > 0 && flow !== UNLIMITED) line.push(run);
    if (line.length === 0) this.#lines.delete(flow);
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
      removed.push(...line.flatMap((run) => run.filter((slice) => slices.has(slice))));
      const kept = line.map((run) => run.filter((slice) => !slices.has(slice))).filter((run) => run.length > 0);
      if (kept.length > 0) this.#lines.set(flow, kept);
      else this.#lines.delete(flow);
    }
    for (const slice of removed) this.#count(slice, -1);
    return removed;
  }

  /** Takes out all. */
  clear(): Slice[] {
    const all = [...this.#lines.values()].flat(2);
    this.#lines.clear();
    this.#length = 0;
    this.#bytes = 0;
    return all;
  }
}
