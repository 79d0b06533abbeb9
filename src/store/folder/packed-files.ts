/**
 * Writes small files out of the memory that they are received into, while the rest of the folder is still on its way:
 * making thousands of files takes about as long as pulling their bytes.
 */
import fs from 'node:fs/promises';
import { writeError } from '../../memory/file-error.ts';
import type { MemoryRegion } from '../../memory/memory-region.ts';
import { MemoryWindows } from '../../memory/memory-windows.ts';
import { pieceAt } from '../../swarm/layout.ts';
import type { SharedObject } from '../../swarm/shared-object.ts';

export interface PackedFile {
  /** Where it is written; nothing is there yet. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** Files in work at once: more than the threads that do it have no use. */
const WRITES_MAX = 8;

export class PackedFiles implements AsyncDisposable {
  readonly #files: readonly PackedFile[];
  readonly #region: MemoryRegion;
  /** Of each file in the region; the last one is the end. */
  readonly #offsets: readonly number[];
  /** Bytes of each file that are not there yet. */
  readonly #missingBytes: Float64Array;
  readonly #ready: number[] = [];
  readonly #windows = new MemoryWindows();
  readonly #lanes = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #isClosed = false;
  #unfollow: () => void = () => {};

  /** @param files - In the order of their bytes in `region`, which stays open until {@link close}. */
  constructor(files: readonly PackedFile[], region: MemoryRegion) {
    this.#files = files;
    this.#region = region;
    const offsets = [0];
    for (const { sizeBytes } of files) offsets.push((offsets.at(-1) ?? 0) + sizeBytes);
    this.#offsets = offsets;
    this.#missingBytes = Float64Array.from(files, ({ sizeBytes }) => sizeBytes);
  }

  /**
   * Writes every file as soon as its bytes are verified.
   *
   * @param firstByte - Logical offset of the region in the object.
   */
  follow(shared: SharedObject, firstByte: number): void {
    for (const [index, { sizeBytes }] of this.#files.entries()) if (sizeBytes === 0) this.#ready.push(index);
    const take = (piece: number): void => {
      const { offset, lengthBytes } = pieceAt(shared.layout, piece);
      this.#take(offset - firstByte, offset - firstByte + lengthBytes);
    };
    for (let piece = 0; piece < shared.pieces; piece++) if (shared.verified.has(piece)) take(piece);
    this.#unfollow = shared.subscribe((change) => {
      if (change.kind === 'verified') take(change.piece);
    });
    this.#pump();
  }

  /**
   * Waits until all files are written. Call it when all bytes have come.
   *
   * @throws P2P_FILE_FAILED, P2P_DISK_FULL A file could not be written; the others were not begun any more.
   */
  async finish(): Promise<void> {
    while (this.#lanes.size > 0) await Promise.all(this.#lanes);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Begins no more file and waits for those in work. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unfollow();
    await Promise.all(this.#lanes);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Notes that bytes `[from, to)` of the region are there. */
  #take(from: number, to: number): void {
    for (let index = this.#firstEndingAfter(from); index < this.#files.length; index++) {
      const start = this.#offsets[index] ?? 0;
      const end = this.#offsets[index + 1] ?? 0;
      if (start >= to) break;
      if (start === end) continue;
      const missingBytes = (this.#missingBytes[index] ?? 0) - (Math.min(end, to) - Math.max(start, from));
      this.#missingBytes[index] = missingBytes;
      if (missingBytes === 0) this.#ready.push(index);
    }
    this.#pump();
  }

  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#files.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle + 1] ?? 0) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #pump(): void {
    while (this.#lanes.size < Math.min(WRITES_MAX, this.#ready.length)) {
      const lane = this.#write().finally(() => {
        this.#lanes.delete(lane);
        this.#pump();
      });
      this.#lanes.add(lane);
    }
  }

  /** Writes what is ready, file after file. */
  async #write(): Promise<void> {
    for (let index = this.#ready.pop(); index !== undefined; index = this.#ready.pop()) {
      const file = this.#files[index];
      if (file === undefined || this.#isClosed || this.#failure !== undefined) continue;
      try {
        await fs.writeFile(file.path, this.#bytesOf(index), { flag: 'wx' });
      } catch (cause) {
        this.#failure ??= { error: writeError('write', file.path, file.sizeBytes, cause) };
      }
    }
  }

  /** In one part, or in several where a window of the memory ends. */
  #bytesOf(index: number): Uint8Array | Uint8Array[] {
    const parts: Uint8Array[] = [];
    const base = Number(this.#region.address);
    const end = base + (this.#offsets[index + 1] ?? 0);
    for (let at = base + (this.#offsets[index] ?? 0); at < end; at += parts.at(-1)?.length ?? end) {
      parts.push(this.#windows.view(at, end - at));
    }
    return parts.length > 1 ? parts : (parts[0] ?? new Uint8Array(0));
  }
}
