import type { MemoryRange } from '../memory/memory-range.ts';
import type { DmabufPart } from '../native/verbs-memory.ts';

export interface RegisterMemoryOptions {
  /** What peers may do with it. Default `read`. */
  readonly remoteAccess?: 'none' | 'read' | 'read-write';
  /** Whether to list it in the segment descriptor before resolving. Default true; the store lists objects elsewhere. */
  readonly isListed?: boolean;
  /**
   * `direct`: heap or anonymous memory, which may be read through a view. Default `guarded`: only system calls may touch it, as the
   * file behind a mapping may be truncated.
   */
  readonly access?: MemoryRange['access'];
  /** Registrations with the same number share one part of the rate limits, as the buffers of one object do. Default: a part of its own. */
  readonly flow?: number;
  /**
   * File and offset under which the driver of a GPU exports the memory, for cards that take it so. RDMA alone reaches such memory; its
   * address is that of the device. Default: none, then the cards' driver must know the address, as nvidia-peermem does.
   */
  readonly dmabuf?: { readonly fd: number; readonly offset: number };
}

/** One registered buffer as the data port sees it. */
export interface RegisteredRange {
  readonly address: number;
  readonly lengthBytes: number;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** As {@link MemoryRange.access}. Absent: `guarded`. */
  readonly access?: MemoryRange['access'] | undefined;
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
