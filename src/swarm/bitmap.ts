/** A set of piece indices in `[0, size)`, 32 to a word. */
import { assert } from '../core/assert.ts';

export class Bitmap {
  readonly size: number;
  /** Bit `i & 31` of word `i >>> 5`. For scans that work on 32 pieces at once; do not write. */
  readonly words: Uint32Array;
  #count = 0;

  constructor(size: number) {
    this.size = size;
    this.words = new Uint32Array(Math.ceil(size / 32));
  }

  static full(size: number): Bitmap {
    const bitmap = new Bitmap(size);
    bitmap.words.fill(0xffff_ffff);
    if (size % 32 !== 0) bitmap.words[bitmap.words.length - 1] = 2 ** (size % 32) - 1;
    bitmap.#count = size;
    return bitmap;
  }

  /**
   * Reads {@link encode}'s form.
   *
   * @returns undefined when the length is wrong or a bit past `size` is set.
   */
  static decode(size: number, bytes: Uint8Array): Bitmap | undefined {
    if (bytes.length !== Math.ceil(size / 8)) return undefined;
    const bitmap = new Bitmap(size);
    for (const [at, byte] of bytes.entries()) {
      for (let bit = 0; bit < 8; bit++) {
        if ((byte & (1 << bit)) === 0) continue;
        if (at * 8 + bit >= size) return undefined;
        bitmap.add(at * 8 + bit);
      }
    }
    return bitmap;
  }

  /** How many indices are in the set. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.size;
  }

  has(index: number): boolean {
    return ((this.words[index >>> 5] ?? 0) & (1 << (index & 31))) !== 0;
  }

  /** @returns Whether it was absent before. */
  add(index: number): boolean {
    assert(Number.isInteger(index) && index >= 0 && index < this.size, 'piece index lies outside the object');
    if (this.has(index)) return false;
    this.words[index >>> 5] = (this.words[index >>> 5] ?? 0) | (1 << (index & 31));
    this.#count++;
    return true;
  }

  /** @returns Whether it was present before. */
  delete(index: number): boolean {
    if (!this.has(index)) return false;
    this.words[index >>> 5] = (this.words[index >>> 5] ?? 0) & ~(1 << (index & 31));
    this.#count--;
    return true;
  }

  clone(): Bitmap {
    const copy = new Bitmap(this.size);
    copy.words.set(this.words);
    copy.#count = this.#count;
    return copy;
  }

  /** Piece i is bit `i % 8` of byte `i / 8`. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(Math.ceil(this.size / 8));
    for (let at = 0; at < bytes.length; at++) bytes[at] = (this.words[at >>> 2] ?? 0) >>> ((at & 3) * 8);
    return bytes;
  }

  /** Runs of consecutive indices as half-open intervals, in order. */
  *ranges(): Generator<{ readonly start: number; readonly end: number }> {
    let start = -1;
    for (const index of this) {
      if (start === -1) start = index;
      if (!this.has(index + 1)) {
        yield { start, end: index + 1 };
        start = -1;
      }
    }
  }

  *[Symbol.iterator](): Generator<number> {
    for (let at = 0; at < this.words.length; at++) {
      for (let word = this.words[at] ?? 0; word !== 0; word &= word - 1) {
        yield at * 32 + lowestBit(word);
      }
    }
  }
}

/** Position of the lowest set bit of a word that is not 0. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
