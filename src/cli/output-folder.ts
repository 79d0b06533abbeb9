/**
 * The folder that a prefix is pulled into. Files are received in a hidden folder inside and moved to their places once
 * all are there, so that a pull which fails changes nothing.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { checkOutput, type PullItem } from './pull-plan.ts';

export class OutputFolder implements AsyncDisposable {
  readonly items: readonly PullItem[];
  readonly #path: string;
  readonly #stagingPath: string;
  /** The outermost folder that was made for the output; undefined when it was there. */
  #firstMade: string | undefined;
  #isStagingMade = false;
  #isCommitted = false;

  private constructor(outputPath: string, items: readonly PullItem[]) {
    this.#path = path.resolve(outputPath);
    this.items = items;
    this.#stagingPath = path.join(this.#path, `.p2pstore-${randomBytes(6).toString('hex')}`);
  }

  /**
   * Checks that everything can be put below `outputPath` and makes the folders to receive in.
   *
   * @throws P2P_FILE_FAILED Something stands in the way, or a folder cannot be made.
   * @throws P2P_DISK_FULL The bytes of all files together are more than what is free.
   */
  static async open(outputPath: string, items: readonly PullItem[]): Promise<OutputFolder> {
    const folder = new OutputFolder(outputPath, items);
    await checkOutput(folder.#path, items);
    try {
      await folder.#prepare();
      return folder;
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  /** Where to receive an item of kind `file`. */
  stagedPath(item: PullItem): string {
    return path.join(this.#stagingPath, item.relativePath);
  }

  /** Moves everything to its place. */
  async commit(): Promise<void> {
    for (const item of this.items) {
      const finalPath = path.join(this.#path, item.relativePath);
      await this.#attempt('move into place', finalPath, async () => {
        await fs.mkdir(item.kind === 'folder' ? finalPath : path.dirname(finalPath), { recursive: true });
        if (item.kind === 'file') await fs.rename(this.stagedPath(item), finalPath);
      });
    }
    this.#isCommitted = true;
  }

  /** Removes what was received and not committed, and the folders made for it. Idempotent. */
  async close(): Promise<void> {
    if (this.#isStagingMade) await fs.rm(this.#stagingPath, { recursive: true, force: true });
    if (this.#isCommitted || this.#firstMade === undefined) return;
    for (let at = this.#path; ; at = path.dirname(at)) {
      const isRemoved = await fs.rmdir(at).then(
        () => true,
        () => false, // somebody else put something there meanwhile: it stays
      );
      if (!isRemoved || at === this.#firstMade) return;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #prepare(): Promise<void> {
    await this.#attempt('make folder', this.#path, async () => {
      this.#firstMade = await fs.mkdir(this.#path, { recursive: true });
      await fs.mkdir(this.#stagingPath);
      this.#isStagingMade = true;
      const folders = new Set(this.items.map((item) => path.dirname(this.stagedPath(item))));
      for (const staged of folders) await fs.mkdir(staged, { recursive: true });
    });
    await requireFreeSpace(
      this.#path,
      this.items.reduce((total, { bytes }) => total + bytes, 0),
    );
  }

  async #attempt(operation: string, at: string, work: () => Promise<void>): Promise<void> {
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
