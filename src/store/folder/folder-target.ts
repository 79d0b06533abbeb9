/** Where a folder is pulled to: memory for all its bytes, and the files that come of it. */
import fs from 'node:fs/promises';
import { abortable } from '../../core/abort.ts';
import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { writeError } from '../../memory/file-error.ts';
import { createMappedFile, type MappedFile } from '../../memory/mapped-file.ts';
import { allocate, type MemoryRegion } from '../../memory/memory-region.ts';
import { type ResolvedMemory, resolveMemory } from '../../memory/resolve-memory.ts';
import { syncFileSystem } from '../../native/sync-file-system.ts';
import type { SharedObject } from '../../swarm/shared-object.ts';
import { inLanes } from '../lanes.ts';
import { invalidArgument } from '../object-name.ts';
import type { FoundObject } from '../object-reader.ts';
import { BUFFERS_MAX, totalSizeBytes } from '../records.ts';
import type { StoreParts } from '../store-parts.ts';
import { decodeManifest, type FolderManifest, itemsOf, totalFileBytes } from './manifest.ts';
import { OutputFolder } from './output-folder.ts';
import { PackedFiles } from './packed-files.ts';
import { readManifest } from './read-manifest.ts';

export interface FolderTargetRequest {
  readonly name: string;
  /** The folder to fill. */
  readonly path: string;
  readonly found: FoundObject;
  readonly signal: AbortSignal;
}

/** Files that are made, mapped, put in place or closed at once. */
const FILES_AT_ONCE = 8;

export class FolderTarget implements AsyncDisposable {
  readonly files: number;
  readonly #manifest: FolderManifest;
  readonly #manifestRegion: MemoryRegion;
  readonly #packedRegion: MemoryRegion;
  readonly #output: OutputFolder;
  readonly #packed: PackedFiles;
  /** By their place in the manifest. */
  readonly #mapped: MappedFile[] = [];
  #closing: Promise<void> | undefined;

  private constructor(manifest: FolderManifest, manifestRegion: MemoryRegion, output: OutputFolder) {
    this.files = manifest.packed.length + manifest.mapped.length;
    this.#manifest = manifest;
    this.#manifestRegion = manifestRegion;
    this.#output = output;
    this.#packedRegion = allocate(totalFileBytes(manifest.packed));
    const packed = manifest.packed.map(([relativePath, sizeBytes]) => ({
      path: output.stagedPath({ kind: 'file', relativePath }),
      sizeBytes,
    }));
    this.#packed = new PackedFiles(packed, this.#packedRegion);
  }

  /**
   * Reads the manifest and makes room for what it lists. Nothing is left behind on failure.
   *
   * @throws P2P_INVALID_ARGUMENT The object is no folder.
   * @throws P2P_RECORD_INVALID Its manifest contradicts itself or would leave `path`.
   * @throws P2P_NO_SOURCE, P2P_FILE_FAILED, P2P_DISK_FULL
   */
  static async open(parts: StoreParts, request: FolderTargetRequest): Promise<FolderTarget> {
    const { name, path, found, signal } = request;
    const { folder, sizes } = found.object;
    if (folder === undefined) throw invalidArgument('name', `"${name}" was not registered as a folder`);
    const region = await readManifest(parts, { name, found, folder, signal });
    let output: OutputFolder | undefined;
    let target: FolderTarget | undefined;
    try {
      const manifest = decodeManifest(name, region.view(), totalSizeBytes(sizes));
      requireFewBuffers(name, manifest);
      output = await OutputFolder.open(path, itemsOf(manifest), signal);
      target = new FolderTarget(manifest, region, output);
      await target.#mapFiles(signal);
      return target;
    } catch (error) {
      await target?.close();
      await output?.close();
      await region.close();
      throw error;
    }
  }

  get memory(): ResolvedMemory {
    const regions = [this.#manifestRegion, this.#packedRegion, ...this.#mapped.map(({ region }) => region)];
    return resolveMemory(
      regions,
      regions.map(({ sizeBytes }) => sizeBytes),
      { writable: true },
    );
  }

  /** Writes files as soon as their bytes have come. */
  follow(shared: SharedObject): void {
    this.#packed.follow(shared, this.#manifestRegion.sizeBytes);
  }

  /** Makes every file durable, then puts all in place. */
  async commit(signal: AbortSignal): Promise<void> {
    await this.#packed.finish();
    await forEachBounded(this.#mapped, FILES_AT_ONCE, signal, (file) => file.commit());
    if (this.#manifest.packed.length > 0) await this.#syncPacked(signal);
    await this.#output.commit();
    await this.#output.close();
  }

  /** Frees the memory, and removes what was not committed. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #mapFiles(signal: AbortSignal): Promise<void> {
    await forEachBounded([...this.#manifest.mapped.entries()], FILES_AT_ONCE, signal, async ([index, file]) => {
      const [relativePath, sizeBytes] = file;
      const stagedPath = this.#output.stagedPath({ kind: 'file', relativePath });
      this.#mapped[index] = await createMappedFile(stagedPath, sizeBytes, { signal });
    });
  }

  async #syncPacked(signal: AbortSignal): Promise<void> {
    const stagingPath = this.#output.stagedPath({ kind: 'folder', relativePath: '' });
    await using staging = await fs.open(stagingPath, 'r');
    try {
      await abortable(syncFileSystem(staging.fd), signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw writeError('sync', stagingPath, this.#packedRegion.sizeBytes, cause);
    }
  }

  async #close(): Promise<void> {
    await this.#packed.close();
    await inLanes(Object.values(this.#mapped), FILES_AT_ONCE, (file) => file.close());
    await this.#packedRegion.close();
    await this.#manifestRegion.close();
    await this.#output.close();
  }
}

function requireFewBuffers(name: string, { mapped }: FolderManifest): void {
  if (mapped.length + 2 <= BUFFERS_MAX) return;
  throw new P2PStoreError(
    ErrorCode.RecordInvalid,
    `Cannot read the manifest of folder "${name}": ${mapped.length} large files are more than any record lists`,
    { key: name },
  );
}
