import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import { mapFileShared } from '../native/mapping.ts';
import { fileError } from './file-error.ts';
import { MemoryRegion } from './memory-region.ts';

/**
 * Maps a regular file for reading, all of it, without copying: the page cache is the memory.
 *
 * The size is taken once. A file that grows later is mapped up to its old end; of one that is truncated, reading the lost
 * part is `P2P_MEMORY_FAULT`; one that is replaced or deleted keeps its old bytes while mapped.
 *
 * @returns Owned by the caller: `close()` unmaps it. The descriptor is closed already.
 * @throws P2P_FILE_FAILED When the file is missing, not readable, not a regular file, or cannot be mapped.
 */
export async function mapFile(path: string): Promise<MemoryRegion> {
  try {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    await using file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error('it is not a regular file');
    const address = stats.size === 0 ? 0 : mapFileShared(file.fd, stats.size, 'read');
    return new MemoryRegion({ address, sizeBytes: stats.size, kind: 'file', isWritable: false, path });
  } catch (cause) {
    throw fileError('map', path, cause);
  }
}
