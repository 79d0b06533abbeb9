/** Finds where a run of logical bytes lies in memory, however the object is split. */
import { assert } from '../core/assert.ts';

export interface AddressRange {
  readonly address: number;
  readonly lengthBytes: number;
}

/** One copy: inside one remote and one local range. */
export interface Extent {
  readonly remoteAddress: number;
  readonly localAddress: number;
  readonly lengthBytes: number;
}

/** A list of ranges read as one run of bytes. Lookup is a binary search, so many small ranges stay cheap. */
export class RangeIndex<R extends AddressRange = AddressRange> {
  readonly ranges: readonly R[];
  /** `starts[i]` is the logical offset of range i; ranges without bytes are left out. */
  readonly #starts: Float64Array;
  readonly totalBytes: number;

  constructor(ranges: readonly R[]) {
    this.ranges = ranges.filter((range) => range.lengthBytes > 0);
    this.#starts = new Float64Array(this.ranges.length);
    let total = 0;
    for (const [index, range] of this.ranges.entries()) {
      this.#starts[index] = total;
      total += range.lengthBytes;
    }
    this.totalBytes = total;
  }

  /**
   * Cuts out logical bytes `[offset, offset + lengthBytes)`.
   *
   * @returns Sub-ranges in order, none empty; other fields of a range are kept.
   */
  slice(offset: number, lengthBytes: number): R[] {
    assert(offset >= 0 && lengthBytes >= 0 && offset + lengthBytes <= this.totalBytes, 'slice lies outside the ranges');
    const slices: R[] = [];
    let at = offset;
    const end = offset + lengthBytes;
    for (let index = this.#find(offset); at < end; index++) {
      const range = this.ranges[index];
      const start = this.#starts[index];
      assert(range !== undefined && start !== undefined);
      const skip = at - start;
      const taken = Math.min(range.lengthBytes - skip, end - at);
      slices.push({ ...range, address: range.address + skip, lengthBytes: taken });
      at += taken;
    }
    return slices;
  }

  /** Index of the range that holds logical byte `offset`. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/**
 * Lists the copies that bring one piece from a remote split of the object into a local one.
 *
 * @returns In logical order; none empty; their lengths add up to the piece.
 */
export function mapPiece(
  piece: { readonly offset: number; readonly lengthBytes: number },
  remote: RangeIndex,
  local: RangeIndex,
): Extent[] {
  const from = remote.slice(piece.offset, piece.lengthBytes);
  const to = local.slice(piece.offset, piece.lengthBytes);
  const extents: Extent[] = [];
  let fromIndex = 0;
  let toIndex = 0;
  let fromUsed = 0;
  let toUsed = 0;
  for (let left = piece.lengthBytes; left > 0; ) {
    const source = from[fromIndex];
    const target = to[toIndex];
    assert(source !== undefined && target !== undefined);
    const lengthBytes = Math.min(source.lengthBytes - fromUsed, target.lengthBytes - toUsed);
    extents.push({
      remoteAddress: source.address + fromUsed,
      localAddress: target.address + toUsed,
      lengthBytes,
    });
    left -= lengthBytes;
    fromUsed += lengthBytes;
    toUsed += lengthBytes;
    if (fromUsed === source.lengthBytes) {
      fromIndex++;
      fromUsed = 0;
    }
    if (toUsed === target.lengthBytes) {
      toIndex++;
      toUsed = 0;
    }
  }
  return extents;
}
