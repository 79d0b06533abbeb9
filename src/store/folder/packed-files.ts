/**
 * Writes small files out of the memory that they are received into, while the rest of the folder is still on its way:
 * making thousands of files takes about as long as pulling their bytes.
 */
import { Worker } from 'node:worker_threads';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { writeError } from '../../memory/file-error.ts';
import type { MemoryRegion } from '../../memory/memory-region.ts';
import { pieceAt } from '../../swarm/layout.ts';
import type { SharedObject } from '../../swarm/shared-object.ts';
import type { PackedAnswer, PackedWrite } from './packed-writer.ts';

export interface PackedFile {
  /** Where it is written; nothing is there yet. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** Files handed to the thread at once, and how many such batches it has: it must not wait for this thread. */
const BATCH_FILES = 64;
const BATCHES_MAX = 2;

export class PackedFiles implements AsyncDisposable {
  readonly #files: readonly PackedFile[];
  readonly #region: MemoryRegion;
  /** Of each file in the region; the last one is the end. */
  readonly #offsets: readonly number[];
  /** Bytes of each file that are not there yet. */
  readonly #missingBytes: Float64Array;
  #ready: number[] = [];
  #worker: Worker | undefined;
  #batches = 0;
  #failure: { readonly error: unknown } | undefined;
  #isClosed = false;
  #onIdle: (() => void)[] = [];
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
   * Writes every file as soon as its bytes are verified, in a thread of its own.
   *
   * @param firstByte - Logical offset of the region in the object.
   */
  follow(shared: SharedObject, firstByte: number): void {
    if (this.#files.length === 0) return;
    this.#worker = this.#startWorker();
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
   * Waits until all files are written, and ends the thread. Call it when all bytes have come.
   *
   * @throws P2P_FILE_FAILED, P2P_DISK_FULL A file could not be written; the others were not begun any more.
   * @throws P2P_WORKER_FAILED The thread died.
   */
  async finish(): Promise<void> {
    await this.#idle();
    const failure = this.#failure;
    await this.close();
    if (failure !== undefined) throw failure.error;
  }

  /** Begins no more file, waits for those in work and ends the thread. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unfollow();
    await this.#idle();
    await this.#worker?.terminate();
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
    while (this.#batches < BATCHES_MAX && this.#ready.length > 0 && this.#canWrite) {
      const batch = this.#ready.slice(0, BATCH_FILES).map((index) => this.#writeOf(index));
      this.#ready = this.#ready.slice(BATCH_FILES);
      this.#batches += 1;
      this.#worker?.postMessage(batch);
    }
    if (this.#batches > 0) return;
    for (const resolve of this.#onIdle) resolve();
    this.#onIdle = [];
  }

  get #canWrite(): boolean {
    return !this.#isClosed && this.#failure === undefined;
  }

  async #idle(): Promise<void> {
    if (this.#batches > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  #writeOf(index: number): PackedWrite {
    const { path, sizeBytes } = this.#files[index] ?? { path: '', sizeBytes: 0 };
    return { path, sizeBytes, address: Number(this.#region.address) + (this.#offsets[index] ?? 0) };
  }

  #startWorker(): Worker {
    // Without the flags of the process: a loader or a preloaded module of the user is none of the worker's business.
    const worker = new Worker(new URL('./packed-writer.js', import.meta.url), {
      name: 'p2pstore-packed-writer',
      resourceLimits: { maxYoungGenerationSizeMb: 4 }, // it allocates little, so a small one is collected fast
      execArgv: [],
    });
    let cause: unknown;
    worker.on('message', ({ failed }: PackedAnswer) => {
      this.#batches -= 1;
      if (failed !== undefined) {
        const cause = Object.assign(new Error(failed.message), { code: failed.code });
        this.#failure ??= { error: writeError('write', failed.write.path, failed.write.sizeBytes, cause) };
      }
      this.#pump();
    });
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', () => {
      const message = 'Cannot write the files of a folder: the thread that does it ended';
      this.#failure ??= {
        error: new P2PStoreError(ErrorCode.WorkerFailed, message, { worker: 'packed writer' }, { cause }),
      };
      this.#batches = 0;
      this.#pump();
    });
    return worker;
  }
}
