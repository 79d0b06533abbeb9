/** Which files a process of this host maps, and reads of them that end well when the file is shorter by now. */
import fs from 'node:fs';
import { errno, libcAsyncFunction, libcFunction } from './libc.ts';

/** Pages of a process that are pages of a file: what is written there is in the file, and the other way. */
export interface FileMapping {
  readonly start: number;
  /** First address behind it. */
  readonly end: number;
  /** Where `start` is in the file. */
  readonly offset: number;
  /** `st_dev` and `st_ino` of the file. */
  readonly device: bigint;
  readonly inode: bigint;
  /** As that process sees it. */
  readonly path: string;
}

/** Address range, rights (`s` last: shared), offset, device, inode, path. */
const LINE = /^([0-9a-f]+)-([0-9a-f]+) ...s ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) +(\/.*)$/;

/**
 * Lists the shared file mappings of a process, in ascending order of address.
 *
 * @throws When the process is gone, or may not be looked into.
 */
export function readFileMappings(pid: number): FileMapping[] {
  const mappings: FileMapping[] = [];
  for (const line of fs.readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, start = '', end = '', offset = '', major = '', minor = '', inode = '', path] = LINE.exec(line) ?? [];
    if (path === undefined) continue;
    mappings.push({
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      offset: Number.parseInt(offset, 16),
      device: deviceNumber(BigInt(`0x${major}`), BigInt(`0x${minor}`)),
      inode: BigInt(inode),
      path: path.replaceAll('\\012', '\n'),
    });
  }
  return mappings;
}

/** As the C library puts both into `st_dev`. */
function deviceNumber(major: bigint, minor: bigint): bigint {
  const [majorLow, minorLow] = [major & 0xfffn, minor & 0xffn];
  return ((major - majorLow) << 32n) | (majorLow << 8n) | ((minor - minorLow) << 12n) | minorLow;
}

const PREAD = 'int64_t pread(int fd, uintptr_t target, size_t length, int64_t offset)';
const pread = libcFunction<[number, number, number, number], number>(PREAD);
const preadAsync = libcAsyncFunction<[number, number, number, number], number>(PREAD);
/** Below this the copy takes less time than handing it to another thread. */
const SYNCHRONOUS_BYTES_MAX = 64 * 1024;

/**
 * Reads from an open file into memory: a little at once, more on another thread.
 *
 * @returns Bytes that were read, fewer than asked for at the end of the file or before memory that is gone; or the negated errno.
 */
export async function readFileInto(fd: number, offset: number, address: number, lengthBytes: number): Promise<number> {
  if (lengthBytes <= SYNCHRONOUS_BYTES_MAX) {
    const readBytes = pread(fd, address, lengthBytes, offset);
    return readBytes < 0 ? -errno() : readBytes;
  }
  const outcome = await preadAsync(fd, address, lengthBytes, offset);
  return outcome.result < 0 ? -outcome.errno : outcome.result;
}
