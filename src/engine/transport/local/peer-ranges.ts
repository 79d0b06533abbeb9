import fs from 'node:fs';
import { assert } from '../../../core/assert.ts';
import { MARK_BYTES } from '../../../native/process-memory.ts';
import { RegisteredRanges } from '../../registered-ranges.ts';
import {
  ACCESS_AT,
  ACCESS_WRITE,
  COUNT_AT,
  ENTRY_BYTES,
  GENERATION_AT,
  HEADER_BYTES,
  LENGTH_AT,
  MAX_ENTRIES,
  VERSION_AT,
} from './range-table.ts';

/** One range that a peer lets us touch. */
export interface PeerRange {
  readonly slot: number;
  /** Tells it from another range that has got the slot later. */
  readonly generation: number;
  readonly address: number;
  readonly lengthBytes: number;
  readonly isWritable: boolean;
}

/** The owner changes its table within microseconds; after so many looks it is stopped in the middle, or hostile. */
const MAX_LOOKS = 1000;

/** The reader's copy of a peer's range table, as of its last look. */
export class PeerRanges {
  readonly #fd: number;
  readonly #mark: Uint8Array;
  readonly #header: Buffer = Buffer.alloc(HEADER_BYTES);
  #version = -1;
  #ranges = new RegisteredRanges();
  #byAddress = new Map<number, PeerRange>();
  #generations = new Map<number, number>();

  /** @param fd - The table, open for reading; stays the caller's. */
  constructor(fd: number, mark: Uint8Array) {
    this.#fd = fd;
    this.#mark = mark;
  }

  /**
   * Takes over what has changed since the last look.
   *
   * @throws When the table is not, or no longer, that of the process that is meant.
   */
  refresh(): void {
    for (let look = 0; look < MAX_LOOKS; look++) {
      const version = this.#readVersion();
      if (version === this.#version) return;
      if (version % 2 === 1) continue;
      const count = this.#header.readUInt32LE(COUNT_AT);
      assert(count <= MAX_ENTRIES, 'a range table has so many entries');
      const entries = Buffer.alloc(count * ENTRY_BYTES);
      const readBytes = fs.readSync(this.#fd, entries, 0, entries.length, HEADER_BYTES);
      if (readBytes < entries.length || this.#readVersion() !== version) continue;
      this.#take(entries);
      this.#version = version;
      return;
    }
    throw new Error('Cannot read a range table: it does not come to rest');
  }

  #readVersion(): number {
    const readBytes = fs.readSync(this.#fd, this.#header, 0, HEADER_BYTES, 0);
    const isMeant = readBytes === HEADER_BYTES && this.#header.compare(this.#mark, 0, MARK_BYTES, 0, MARK_BYTES) === 0;
    if (!isMeant)
      throw new Error('Cannot read a range table: it is not of the process that is meant, or that has closed it');
    return this.#header.readUInt32LE(VERSION_AT);
  }

  #take(entries: Buffer): void {
    const found: PeerRange[] = [];
    for (let slot = 0; slot * ENTRY_BYTES < entries.length; slot++) {
      const at = slot * ENTRY_BYTES;
      const access = entries.readUInt32LE(at + ACCESS_AT);
      const address = entries.readDoubleLE(at);
      const lengthBytes = entries.readDoubleLE(at + LENGTH_AT);
      const generation = entries.readUInt32LE(at + GENERATION_AT);
      if (access !== 0) found.push({ slot, generation, address, lengthBytes, isWritable: access === ACCESS_WRITE });
    }
    found.sort((left, right) => left.address - right.address); // added in order they need not be moved
    this.#ranges = new RegisteredRanges();
    for (const { address, lengthBytes, isWritable } of found) {
      this.#ranges.add({ address, lengthBytes, isReadable: true, isWritable });
    }
    this.#byAddress = new Map(found.map((range) => [range.address, range]));
    this.#generations = new Map(found.map(({ slot, generation }) => [slot, generation]));
  }

  /** Changes with the table. */
  get version(): number {
    return this.#version;
  }

  all(): Iterable<PeerRange> {
    return this.#byAddress.values();
  }

  /** The range that holds all of these bytes. */
  find(address: number, lengthBytes: number): PeerRange | undefined {
    const range = this.#ranges.containing(address, lengthBytes);
    return range === undefined ? undefined : this.#byAddress.get(range.address);
  }

  /** Whether it is still there. */
  has({ slot, generation }: PeerRange): boolean {
    return this.#generations.get(slot) === generation;
  }
}
