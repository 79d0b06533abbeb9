/** Makes the memory of a folder that is to be published: manifest, small files in one region, large files mapped. */
import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import { forEachBounded } from '../../core/bounded.ts';
import { KIB } from '../../core/units.ts';
import { digestBytes } from '../../digest/digest-bytes.ts';
import { fileError } from '../../memory/file-error.ts';
import { mapFile } from '../../memory/map-file.ts';
import { allocate, type MemoryRegion } from '../../memory/memory-region.ts';
import { MemoryWindows } from '../../memory/memory-windows.ts';
import { type ResolvedMemory, resolveMemory } from '../../memory/resolve-memory.ts';
import { inLanes } from '../lanes.ts';
import { invalidArgument } from '../object-name.ts';
import { BUFFERS_MAX, digestOfFolder, type FolderRecord, MANIFEST_MAX_BYTES } from '../records.ts';
import { encodeManifest, type FolderFile } from './manifest.ts';
import { cannotPublish, type WalkedFile, walkFolder } from './walk-folder.ts';

/** Files from this size on are buffers of their own: a mapping costs no copy, a packed file no part of a record. */
export const MAPPED_FILE_BYTES_MIN: number = 256 * KIB;
/** Files read or mapped at once: more than the threads that do it have no use. */
const FILES_AT_ONCE = 16;

export interface OpenedFolder {
  readonly memory: ResolvedMemory;
  /** Frees all of the memory. */
  readonly mapping: AsyncDisposable;
  readonly folder: FolderRecord;
}

/**
 * @throws P2P_FILE_FAILED Something in the folder cannot be read, or changed meanwhile.
 * @throws P2P_INVALID_ARGUMENT There are more files than one object can hold.
 */
export async function openFolder(
  folderPath: string,
  algorithm: 'xxh64' | 'blake3' | 'none',
  signal: AbortSignal,
): Promise<OpenedFolder> {
  const { files, emptyFolders } = await walkFolder(folderPath, signal);
  const small = files.filter(({ sizeBytes }) => sizeBytes < MAPPED_FILE_BYTES_MIN);
  const large = files.filter(({ sizeBytes }) => sizeBytes >= MAPPED_FILE_BYTES_MIN);
  if (large.length + 2 > BUFFERS_MAX) {
    const limit = `an object has at most ${BUFFERS_MAX - 2} of those`;
    throw invalidArgument('path', `${folderPath} holds ${large.length} files of 256 KiB or more, ${limit}`);
  }
  const regions: MemoryRegion[] = [];
  const close = (): Promise<void> => inLanes(regions, FILES_AT_ONCE, (region) => region.close());
  try {
    const packed = await packFiles(small, signal);
    regions.push(packed);
    const mapped: MemoryRegion[] = [];
    await forEachBounded([...large.entries()], FILES_AT_ONCE, signal, async ([index, file]) => {
      const region = await mapFile(file.path);
      regions.push(region);
      mapped[index] = region;
    });
    const manifest = packManifest(folderPath, {
      packed: small.map(({ relativePath, sizeBytes }) => [relativePath, sizeBytes] as const),
      mapped: large.map(({ relativePath }, index) => [relativePath, mapped[index]?.sizeBytes ?? 0] as const),
      emptyFolders,
    });
    regions.push(manifest);
    const inOrder = [manifest, packed, ...mapped];
    const sizes = inOrder.map(({ sizeBytes }) => sizeBytes);
    const digest = digestBytes(digestOfFolder(algorithm), manifest.view());
    return {
      memory: resolveMemory(inOrder, sizes, { writable: false }),
      mapping: { [Symbol.asyncDispose]: close },
      folder: {
        manifestBytes: manifest.sizeBytes,
        manifestDigest: Buffer.from(digest).toString('hex'),
        files: files.length,
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function packManifest(
  folderPath: string,
  content: {
    readonly packed: readonly FolderFile[];
    readonly mapped: readonly FolderFile[];
    readonly emptyFolders: readonly string[];
  },
): MemoryRegion {
  const bytes = encodeManifest({ version: 1, ...content });
  if (bytes.length > MANIFEST_MAX_BYTES) {
    const state = `the list of its files has ${bytes.length} bytes, the limit is ${MANIFEST_MAX_BYTES}`;
    throw invalidArgument('path', `${folderPath}: ${state}`);
  }
  const region = allocate(bytes.length);
  region.view().set(bytes);
  return region;
}

/** Reads files into one region, one behind the other. */
async function packFiles(files: readonly WalkedFile[], signal: AbortSignal): Promise<MemoryRegion> {
  let end = 0;
  const placed = files.map((file) => {
    end += file.sizeBytes;
    return { file, offset: end - file.sizeBytes };
  });
  const region = allocate(end);
  const windows = new MemoryWindows();
  try {
    await forEachBounded(placed, FILES_AT_ONCE, signal, async ({ file, offset }) => {
      await readWhole(file, windows, Number(region.address) + offset);
    });
    return region;
  } catch (error) {
    await region.close();
    throw error;
  }
}

async function readWhole({ path, sizeBytes }: WalkedFile, memory: MemoryWindows, address: number): Promise<void> {
  let doneBytes = 0;
  let endBytes: number;
  try {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    await using file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    for (let bytesRead = -1; bytesRead !== 0 && doneBytes < sizeBytes; doneBytes += bytesRead) {
      ({ bytesRead } = await file.read(memory.view(address + doneBytes, sizeBytes - doneBytes)));
    }
    endBytes = (await file.stat()).size;
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  if (doneBytes !== sizeBytes || endBytes !== sizeBytes) {
    throw cannotPublish(path, 'read', 'its size changed while it was read');
  }
}
