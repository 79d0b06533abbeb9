/**
 * Files that a peer maps and that we can open too. Where the kernel does not let us read the memory of the peer, what it maps of
 * them is read from the files themselves: both are the same pages.
 */
import fs, { constants as fsConstants } from 'node:fs';
import { constants } from 'node:os';
import { type FileMapping, readFileInto, readFileMappings } from '../../../native/file-mappings.ts';
import type { CopyOutcome, CopyPart } from '../../../native/process-memory.ts';
import type { PeerRange } from './peer-ranges.ts';

const { EFAULT } = constants.errno;
/** Open at a time; the one that was opened first makes room. */
const MAX_FILES = 64;

interface OpenFile {
  readonly fd: number;
  /** Reads under way. */
  users: number;
  /** It is to be closed after them. */
  isLeft: boolean;
}

export class MappedPeerFiles {
  readonly #pid: number;
  #mappings: readonly FileMapping[] = [];
  /** Of the table when the mappings were looked at. */
  #version: number | undefined;
  readonly #files = new Map<string, OpenFile>();

  constructor(pid: number) {
    this.#pid = pid;
  }

  /**
   * Whether a range is part of a file that we can open.
   *
   * @param version - Of the table that the range is in: mappings are looked at once for each.
   */
  covers(range: PeerRange, version: number): boolean {
    const mapping = this.#mappingOf(range, version);
    return mapping !== undefined && this.#open(mapping) !== undefined;
  }

  #mappingOf({ address, lengthBytes }: PeerRange, version: number): FileMapping | undefined {
    if (this.#version !== version) {
      this.#version = version;
      this.#mappings = listMappings(this.#pid);
    }
    return this.#mappings.find(({ start, end }) => start <= address && address + lengthBytes <= end);
  }

  #open({ device, inode, path }: FileMapping): OpenFile | undefined {
    const key = `${device} ${inode}`;
    const known = this.#files.get(key);
    if (known !== undefined) return known;
    const fd = openSame(path, device, inode);
    if (fd === undefined) return undefined;
    for (const [oldest, file] of this.#files) {
      if (this.#files.size < MAX_FILES) break;
      this.#files.delete(oldest);
      closeWhenUnused(file);
    }
    const file = { fd, users: 0, isLeft: false };
    this.#files.set(key, file);
    return file;
  }

  /** Reads parts that were found to be covered, in their order, up to the first that ends early. */
  async read(parts: readonly CopyPart[]): Promise<CopyOutcome> {
    let copiedBytes = 0;
    for (const { localAddress, remoteAddress, lengthBytes } of parts) {
      const mapping = this.#mappings.find(({ start, end }) => start <= remoteAddress && remoteAddress < end);
      const file = mapping === undefined ? undefined : this.#open(mapping);
      if (mapping === undefined || file === undefined) break;
      const offset = mapping.offset + remoteAddress - mapping.start;
      file.users += 1;
      const readBytes = await readFileInto(file.fd, offset, localAddress, lengthBytes);
      file.users -= 1;
      if (file.isLeft) closeWhenUnused(file);
      if (readBytes < 0) break;
      copiedBytes += readBytes;
      if (readBytes < lengthBytes) break;
    }
    return { copiedBytes, errno: copiedBytes === 0 ? EFAULT : 0 };
  }

  close(): void {
    for (const file of this.#files.values()) closeWhenUnused(file);
    this.#files.clear();
  }
}

function closeWhenUnused(file: OpenFile): void {
  file.isLeft = true;
  if (file.users === 0) fs.closeSync(file.fd);
}

function listMappings(pid: number): readonly FileMapping[] {
  try {
    return readFileMappings(pid);
  } catch {
    return []; // it has ended, or we may not look
  }
}

/** The file of that name, if it is the one that is mapped. Others may have put anything there: nothing may hold us up. */
function openSame(path: string, device: bigint, inode: bigint): number | undefined {
  try {
    const fd = fs.openSync(path, fsConstants.O_RDONLY | fsConstants.O_NONBLOCK | fsConstants.O_NOCTTY);
    const stats = fs.fstatSync(fd, { bigint: true });
    if (stats.isFile() && stats.dev === device && stats.ino === inode) return fd;
    fs.closeSync(fd);
  } catch {
    // gone, renamed, or not ours to read
  }
  return undefined;
}
