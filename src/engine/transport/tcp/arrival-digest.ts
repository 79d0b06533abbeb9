import { createHasher, type Hasher } from '../../../digest/digest-bytes.ts';
import type { MemoryReader } from '../../../digest/memory-reader.ts';
import type { MemoryRange } from '../../../memory/memory-range.ts';

/** Digests the payload of one READ run by run, right after each run was received: it is in the processor's cache then. */
export class ArrivalDigest {
  readonly #reader: MemoryReader;
  readonly #access: MemoryRange['access'];
  /** Undefined: it cannot be told. Whoever asked digests the memory, and hears the reason then. */
  #hasher: Hasher | undefined;

  constructor(reader: MemoryReader, access: MemoryRange['access']) {
    this.#reader = reader;
    this.#access = access;
    this.#attempt(() => {
      this.#hasher = createHasher('xxh64');
    });
  }

  /** The next bytes have come, here. */
  add(address: number, lengthBytes: number): void {
    this.#attempt(() => {
      for (let done = 0; done < lengthBytes && this.#hasher !== undefined; ) {
        const rest = { address: address + done, lengthBytes: lengthBytes - done, access: this.#access };
        const bytes = this.#reader.read(rest);
        this.#hasher.update(bytes);
        done += bytes.length;
      }
    });
  }

  /** Call it once, after the last bytes. */
  end(): Uint8Array | undefined {
    return this.#hasher?.digest();
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch {
      this.#hasher = undefined;
    }
  }
}
