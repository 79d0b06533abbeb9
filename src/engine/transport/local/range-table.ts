/**
 * What an engine lets the processes of its host touch, in a file in memory that they read:
 *
 *   offset 0   mark, 16 bytes: by which the process is known; zeros once it has closed
 *   offset 16  version, 4 bytes: odd while the table changes, another one after each change
 *   offset 20  number of entries, 4 bytes
 *   offset 32  entries of 32 bytes: address (8, a double), length (8, a double), generation (4), access (4): 0 none, 1 read, 2 also write
 *
 * Who reads memory of entry i holds a shared lock on byte 2i of the file meanwhile, who writes one on byte 2i + 1, and looks at the
 * version again once the lock is held. The owner closes the entry first and waits until the locks are gone then. So a peer
 * never comes too late, and the kernel takes the locks of a process that dies.
 */
import fs from 'node:fs';
import { sleep } from '../../../core/abort.ts';
import { backoffMs } from '../../../core/backoff.ts';
import { MARK_BYTES } from '../../../native/process-memory.ts';
import { createSharedFile, lockBytes } from '../../../native/shared-file.ts';
import type { Logger } from '../../../observability/logger.ts';
import type { RegisteredRange } from '../../registered-ranges.ts';

export const HEADER_BYTES = 32;
export const ENTRY_BYTES = 32;
/** More are served over TCP only. */
export const MAX_ENTRIES = 16_384;
export const VERSION_AT: number = MARK_BYTES;
export const COUNT_AT: number = VERSION_AT + 4;
export const LENGTH_AT = 8;
export const GENERATION_AT = 16;
export const ACCESS_AT = 20;
export const ACCESS_READ = 1;
export const ACCESS_WRITE = 2;

/** Bytes of the file whose locks belong to entry `slot`. */
export function lockByteOf(slot: number, opcode: 'read' | 'write'): number {
  return 2 * slot + (opcode === 'read' ? 0 : 1);
}

/** A read takes milliseconds. Who has not ended one by now is stopped, or about to look at the version and throw away what it read. */
const READER_WAIT_MS = 5000;
const POLL = { firstMs: 1, maxMs: 20 };

/** The owner's side. */
export class RangeTable {
  /** For peers, who open it as `/proc/<pid>/fd/<fd>`. */
  readonly fd: number;
  readonly #logger: Logger;
  readonly #readerWaitMs: number;
  readonly #slots = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  #entryCount = 0;
  #version = 0;
  #generation = 0;

  /**
   * @param readerWaitMs - Time that a reader gets to leave. Default 5,000.
   * @throws P2P_SYSTEM_CALL_FAILED
   */
  constructor(mark: Uint8Array, logger: Logger, readerWaitMs: number = READER_WAIT_MS) {
    this.#logger = logger;
    this.#readerWaitMs = readerWaitMs;
    this.fd = createSharedFile('p2pstore-ranges');
    const header = Buffer.alloc(HEADER_BYTES);
    header.set(mark);
    this.#write(header, 0);
  }

  /** Lists a range. One that peers may not touch, or for which no room is left, stays unlisted. */
  add({ address, lengthBytes, isReadable, isWritable }: RegisteredRange): void {
    const isNew = this.#freeSlots.length === 0;
    if (!isReadable || (isNew && this.#entryCount === MAX_ENTRIES)) return;
    const slot = this.#freeSlots.pop() ?? this.#entryCount++;
    this.#slots.set(address, slot);
    this.#generation += 1;
    const entry = Buffer.alloc(ENTRY_BYTES);
    entry.writeDoubleLE(address, 0);
    entry.writeDoubleLE(lengthBytes, LENGTH_AT);
    entry.writeUInt32LE(this.#generation >>> 0, GENERATION_AT);
    entry.writeUInt32LE(isWritable ? ACCESS_WRITE : ACCESS_READ, ACCESS_AT);
    this.#change(entry, slot);
  }

  /** Takes a range out. Resolves once no peer touches it any more. */
  async remove(address: number): Promise<void> {
    const slot = this.#slots.get(address);
    if (slot === undefined) return;
    this.#slots.delete(address);
    this.#change(Buffer.alloc(ENTRY_BYTES), slot);
    if (await this.#waitUntilLeft(slot, slot + 1)) this.#freeSlots.push(slot);
  }

  /** A peer that sees the version change twice, or odd, reads again. */
  #change(entry: Buffer, slot: number): void {
    this.#writeVersion();
    this.#write(entry, HEADER_BYTES + slot * ENTRY_BYTES);
    this.#writeVersion();
  }

  #writeVersion(): void {
    this.#version = (this.#version + 1) >>> 0;
    const words = Buffer.alloc(8);
    words.writeUInt32LE(this.#version, 0);
    words.writeUInt32LE(this.#entryCount, 4);
    this.#write(words, VERSION_AT);
  }

  #write(bytes: Buffer, position: number): void {
    fs.writeSync(this.fd, bytes, 0, bytes.length, position);
  }

  /**
   * A reader that is stopped in the middle is waited for some seconds: whatever it reads later it throws away. A writer is waited for
   * until it goes on or dies, as it would write to what the memory is then.
   *
   * @returns Whether all have left.
   */
  async #waitUntilLeft(firstSlot: number, endSlot: number): Promise<boolean> {
    const start = lockByteOf(firstSlot, 'read');
    const lengthBytes = lockByteOf(endSlot, 'read') - start;
    const startedMs = performance.now();
    let warnAtMs = startedMs + this.#readerWaitMs;
    for (let attempt = 0; !this.#isLeft(start, lengthBytes); attempt++) {
      const nowMs = performance.now();
      if (nowMs >= warnAtMs) {
        warnAtMs = nowMs + this.#readerWaitMs;
        const isWritten = this.#isWritten(firstSlot, endSlot);
        this.#logger.warn({ isWritten, waitedMs: nowMs - startedMs }, 'a process of this host holds memory of ours');
        if (!isWritten) return false;
      }
      await sleep(backoffMs(attempt, POLL));
    }
    return true;
  }

  #isLeft(start: number, lengthBytes: number): boolean {
    if (!lockBytes(this.fd, start, lengthBytes, 'exclusive')) return false;
    return lockBytes(this.fd, start, lengthBytes, 'none');
  }

  #isWritten(firstSlot: number, endSlot: number): boolean {
    for (let slot = firstSlot; slot < endSlot; slot++) if (!this.#isLeft(lockByteOf(slot, 'write'), 1)) return true;
    return false;
  }

  /** Takes everything out and tells so. Resolves once no peer touches our memory any more. Idempotent only by its caller. */
  async close(): Promise<void> {
    this.#write(Buffer.alloc(MARK_BYTES), 0);
    for (const slot of this.#slots.values()) this.#change(Buffer.alloc(ENTRY_BYTES), slot);
    this.#slots.clear();
    if (this.#entryCount > 0) await this.#waitUntilLeft(0, this.#entryCount);
    fs.closeSync(this.fd);
  }
}
