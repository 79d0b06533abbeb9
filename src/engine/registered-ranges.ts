import type { DmabufPart } from '../native/verbs-memory.ts';

/** One registered buffer as the data port sees it. */
export interface RegisteredRange {
  readonly address: number;
  readonly lengthBytes: number;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** Buffers of one number share one part of the rate limits. Absent: a part of its own. */
  readonly flow?: number | undefined;
  /** A key of the NIC priority matrix, or `*`. Absent: `*`. */
  readonly location?: string | undefined;
  /** Where RDMA cards find it when it is memory of a GPU whose driver exports it as a dma-buf. */
  readonly dmabuf?: DmabufPart | undefined;
}

/** Whose part of a rate limit the bytes of a buffer use. */
export function flowOf({ flow, address }: RegisteredRange): number {
  return flow ?? address;
}

/** The registered buffers of one process, sorted by address and disjoint. */
export class RegisteredRanges {
  readonly #ranges: RegisteredRange[] = [];

  /** Index of the first range that starts above `address`. */
  #upperBound(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.address ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The range that overlaps `[address, address + lengthBytes)`, if any. */
  overlapping(address: number, lengthBytes: number): RegisteredRange | undefined {
    const before = this.#ranges[this.#upperBound(address + lengthBytes - 1) - 1];
    return before !== undefined && before.address + before.lengthBytes > address ? before : undefined;
  }

  /** The single range that holds all of `[address, address + lengthBytes)`; two adjacent ones do not. */
  containing(address: number, lengthBytes: number): RegisteredRange | undefined {
    const range = this.#ranges[this.#upperBound(address) - 1];
    if (range === undefined || lengthBytes <= 0) return undefined;
    return address - range.address + lengthBytes <= range.lengthBytes ? range : undefined;
  }

  startingAt(address: number): RegisteredRange | undefined {
    const range = this.#ranges[this.#upperBound(address) - 1];
    return range?.address === address ? range : undefined;
  }

  /** The caller has checked that nothing overlaps. */
  add(range: RegisteredRange): void {
    this.#ranges.splice(this.#upperBound(range.address), 0, range);
  }

  remove(address: number): void {
    const index = this.#upperBound(address) - 1;
    if (this.#ranges[index]?.address === address) this.#ranges.splice(index, 1);
  }

  [Symbol.iterator](): Iterator<RegisteredRange> {
    return this.#ranges[Symbol.iterator]();
  }

  get size(): number {
    return this.#ranges.length;
  }
}
