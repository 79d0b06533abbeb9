/**
 * A folder that is pulled into. Files are received in a hidden folder and moved to their places once all are there, so
 * that a pull which fails changes nothing. The hidden folder lies inside a folder that is there, beside one that is not:
 * then one rename puts everything in place.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { checkFile, checkFolder, checkOutput } from './check-output.ts';
import { MadeFolders } from './made-folders.ts';
import { folderOf, type PathItem } from './relative-paths.ts';

export interface OutputItem extends PathItem {
  /** Bytes that it will take on the disk. */
  readonly bytes: number;
}

interface Move {
  readonly from: string;
  readonly to: string;
}

/** Calls to the file system in flight: more than the threads that do them have no use. */
const CALLS_MAX = 16;

export class OutputFolder implements AsyncDisposable {
  readonly #path: string;
  readonly #signal: AbortSignal;
  #stagingPath = '';
  /** Around the hidden one. */
  #around: MadeFolders | undefined;

  private constructor(outputPath: string, signal: AbortSignal) {
    this.#path = path.resolve(outputPath);
    this.#signal = signal;
  }

  /**
   * Checks that everything can be put below `outputPath` and makes the folders to receive in.
   *
   * @param signal - Ends this call, and {@link commit} until it starts to move.
   * @throws P2P_FILE_FAILED Something stands in the way, or a folder cannot be made.
   * @throws P2P_DISK_FULL The bytes of all files together are more than what is free.
   */
  static async open(outputPath: string, items: readonly OutputItem[], signal: AbortSignal): Promise<OutputFolder> {
    const folder = new OutputFolder(outputPath, signal);
    const isThere = await checkOutput(folder.#path, items, signal);
    try {
      await folder.#prepare(isThere, items);
      return folder;
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  /** Where to receive a file, or a folder that is filled by other means. */
  stagedPath({ relativePath }: PathItem): string {
    return path.join(this.#stagingPath, relativePath);
  }

  /**
   * Moves everything to its place, over files that are there.
   *
   * @throws P2P_FILE_FAILED What stands in the way by now is found before anything is moved.
   */
  async commit(): Promise<void> {
    const moves: Move[] = [];
    if (await checkOutput(this.#path, [], this.#signal)) {
      await this.#planMoves(await fs.realpath(this.#path), { from: this.#stagingPath, to: this.#path }, moves);
    } else moves.push({ from: this.#stagingPath, to: this.#path });
    this.#signal.throwIfAborted();
    const { signal: unaborted } = new AbortController(); // half of the files would be worse than all
    await forEachBounded(moves, CALLS_MAX, unaborted, ({ from, to }) =>
      attempt('move into place', to, () => fs.rename(from, to)),
    );
    this.#around?.keep();
  }

  /** Removes what was received and not committed, and the folders made for it. Idempotent. */
  async close(): Promise<void> {
    if (this.#stagingPath !== '') await fs.rm(this.#stagingPath, { recursive: true, force: true });
    await this.#around?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #prepare(isThere: boolean, items: readonly OutputItem[]): Promise<void> {
    const around = isThere ? this.#path : path.dirname(this.#path);
    const stagingPath = path.join(around, `.p2pstore-${randomBytes(6).toString('hex')}`);
    this.#around = await MadeFolders.make(around);
    await attempt('make folder', stagingPath, () => fs.mkdir(stagingPath));
    this.#stagingPath = stagingPath;
    const neededBytes = items.reduce((total, { bytes }) => total + bytes, 0);
    await requireFreeSpace(around, neededBytes);
    const folders = new Set(items.map(folderOf));
    await forEachBounded([...folders], CALLS_MAX, this.#signal, async (relativePath) => {
      const staged = path.join(stagingPath, relativePath);
      await attempt('make folder', staged, () => fs.mkdir(staged, { recursive: true }));
    });
  }

  /** Goes down only into folders that are there already; others are moved as a whole. */
  async #planMoves(root: string, { from, to }: Move, moves: Move[]): Promise<void> {
    const entries = await fs.readdir(from, { withFileTypes: true });
    const folders: Move[] = [];
    await forEachBounded(entries, CALLS_MAX, this.#signal, async (entry) => {
      const move = { from: path.join(from, entry.name), to: path.join(to, entry.name) };
      if (!entry.isDirectory()) {
        await checkFile(move.to);
        moves.push(move);
      } else if (await checkFolder(root, move.to)) folders.push(move);
      else moves.push(move);
    });
    for (const folder of folders) await this.#planMoves(root, folder, moves);
  }
}

async function attempt(operation: string, at: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    throw new P2PStoreError(
      ErrorCode.FileFailed,
      `Cannot ${operation} ${at}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { path: at, operation },
      { cause },
    );
  }
}

/**
 * @param at - A folder that exists.
 * @throws P2P_DISK_FULL Less than `neededBytes` are free there.
 */
export async function requireFreeSpace(at: string, neededBytes: number): Promise<void> {
  const { blocks, bavail, bsize } = await fs.statfs(at);
  const freeBytes = bavail * bsize;
  if (blocks === 0 || freeBytes >= neededBytes) return;
  throw new P2PStoreError(
    ErrorCode.DiskFull,
    `Cannot write ${neededBytes} bytes to ${at}: ${freeBytes} bytes are free`,
    { path: at, neededBytes },
  );
}
