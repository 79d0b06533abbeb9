/**
 * A file that is received through a mapping. Bytes land in a hidden sibling whose blocks are reserved beforehand, as a
 * full disk under a mapping is told by a signal that ends the process; a commit renames it into place. So the final path
 * holds what it held before, or all of the new bytes, never a part.
 */
import { randomBytes } from 'node:crypto';
import fs, { type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { allocateBlocks, mapFileShared } from '../native/mapping.ts';
import { errnoNameOf, fileError, writeError } from './file-error.ts';
import { MemoryRegion } from './memory-region.ts';

/** Keeps the hidden name within the 255 bytes of a file name: 60 characters are at most 180 bytes. */
const NAME_PART_LENGTH = 60;

export class MappedFile implements AsyncDisposable {
  /** The mapping, writable. The kernel writes to it; it gives no views. */
  readonly region: MemoryRegion;
  /** Where {@link commit} puts the file. */
  readonly path: string;
  /** Where the bytes are until then. */
  readonly temporaryPath: string;
  readonly #file: FileHandle;
  #commit: Promise<void> | undefined;
  #close: Promise<void> | undefined;
  #isCommitted = false;

  /** @internal Takes over the descriptor and the region; use {@link createMappedFile}. */
  constructor(path: string, temporaryPath: string, file: FileHandle, region: MemoryRegion) {
    this.path = path;
    this.temporaryPath = temporaryPath;
    this.#file = file;
    this.region = region;
  }

  /**
   * Syncs the bytes to disk and puts the file at its final path, over one that is there. The mapping stays usable.
   * Idempotent; after a failure the file is still uncommitted, and the call may be repeated.
   *
   * @throws P2P_FILE_FAILED When syncing or renaming fails, or after `close()`.
   * @throws P2P_DISK_FULL When a file system that cannot reserve blocks ran out of them.
   */
  commit(): Promise<void> {
    this.#commit ??= this.#publish().catch((error: unknown) => {
      this.#commit = undefined;
      throw error;
    });
    return this.#commit;
  }

  /** Unmaps; removes the file unless it was committed. Waits for a running commit. Idempotent. */
  close(): Promise<void> {
    this.#close ??= this.#release();
    return this.#close;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #publish(): Promise<void> {
    if (this.#close !== undefined) throw fileError('commit', this.path, new Error('it is closed'));
    try {
      await this.#file.datasync();
      await fs.rename(this.temporaryPath, this.path);
    } catch (cause) {
      throw writeError('commit', this.path, this.region.sizeBytes, cause);
    }
    this.#isCommitted = true;
    await syncDirectory(this.path);
    await this.#file.close(); // the mapping does without: thousands of files need no thousands of descriptors
  }

  async #release(): Promise<void> {
    await this.#commit?.catch(() => {}); // its caller was told
    await this.region.close();
    await this.#file.close();
    if (!this.#isCommitted) await removeFile(this.temporaryPath);
  }
}

/**
 * Creates a file of `sizeBytes` to receive into: reserves its disk blocks and maps it for writing.
 *
 * @param path - Where the file goes at {@link MappedFile.commit}; a regular file that is there will be replaced.
 * @param options.signal - Stops the reservation, which takes time for a large file in memory (/dev/shm).
 * @returns Owned by the caller: `close()` unmaps it and, unless committed, removes it.
 * @throws P2P_DISK_FULL When the blocks do not fit; nothing is left behind.
 * @throws P2P_FILE_FAILED When the path names something else than a file, or its directory cannot be written.
 */
export async function createMappedFile(
  path: string,
  sizeBytes: number,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<MappedFile> {
  const { signal } = options;
  signal?.throwIfAborted();
  const hiddenName = `.${basename(path).slice(0, NAME_PART_LENGTH)}.p2pstore-${randomBytes(6).toString('hex')}`;
  const temporaryPath = join(dirname(path), hiddenName);
  const [check, opening] = await Promise.allSettled([requireReplaceable(path), fs.open(temporaryPath, 'wx+')]);
  if (check.status === 'rejected') {
    if (opening.status === 'fulfilled') await discard(opening.value, temporaryPath);
    throw check.reason;
  }
  if (opening.status === 'rejected') throw writeError('create', path, sizeBytes, opening.reason);
  const file = opening.value;
  try {
    if (sizeBytes > 0) await reserve(file, temporaryPath, sizeBytes, signal);
    const address = sizeBytes === 0 ? 0 : mapFileShared(file.fd, sizeBytes, 'read-write');
    const region = new MemoryRegion({ address, sizeBytes, kind: 'file', isWritable: true, path });
    return new MappedFile(path, temporaryPath, file, region);
  } catch (cause) {
    await discard(file, temporaryPath);
    signal?.throwIfAborted();
    throw writeError('create', path, sizeBytes, cause);
  }
}

async function discard(file: FileHandle, path: string): Promise<void> {
  await file.close();
  await removeFile(path);
}

/** Finds out before the transfer, not at the rename behind it. */
async function requireReplaceable(path: string): Promise<void> {
  try {
    const stats = await fs.lstat(path);
    if (!stats.isFile() && !stats.isSymbolicLink()) throw new Error('something that is not a file is there');
  } catch (cause) {
    if (errnoNameOf(cause) !== 'ENOENT') throw fileError('create', path, cause);
  }
}

async function reserve(file: FileHandle, path: string, sizeBytes: number, signal?: AbortSignal): Promise<void> {
  try {
    await allocateBlocks(file.fd, sizeBytes, signal);
  } catch (cause) {
    if (errnoNameOf(cause) !== 'EOPNOTSUPP') throw cause;
    await requireFreeSpace(path, sizeBytes);
    await file.truncate(sizeBytes);
  }
}

/** The next best where blocks cannot be reserved. A file system that does not tell its size is taken at its word. */
async function requireFreeSpace(path: string, sizeBytes: number): Promise<void> {
  const { blocks, bavail, bsize } = await fs.statfs(path);
  if (blocks > 0 && bavail * bsize < sizeBytes) {
    throw Object.assign(new Error(`${bavail * bsize} bytes are free`), { code: 'ENOSPC' });
  }
}

/** Makes the new name durable. Some file systems cannot sync a directory; the name is there all the same. */
async function syncDirectory(path: string): Promise<void> {
  try {
    await using directory = await fs.open(dirname(path), 'r');
    await directory.sync();
  } catch (cause) {
    if (!['EINVAL', 'ENOSYS', 'ENOTSUP'].includes(errnoNameOf(cause) ?? '')) throw fileError('commit', path, cause);
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch (cause) {
    if (errnoNameOf(cause) !== 'ENOENT') throw fileError('remove', path, cause);
  }
}
