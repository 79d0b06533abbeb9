/**
 * Copies between two addresses of this process by a system call instead of by the processor alone. The kernel answers
 * EFAULT where a plain read would end the process: unmapped pages (SIGSEGV), and pages of a file mapping that the file
 * no longer reaches because somebody truncated it (SIGBUS).
 */
import fs from 'node:fs';
import { constants } from 'node:os';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { addressOf } from './address.ts';
import { errno, libcFunction, systemCallError } from './libc.ts';

const { EPERM, ENOSYS, EFAULT, EIO } = constants.errno;

/** The kernel moves at most this many bytes in one call (MAX_RW_COUNT). */
const MAX_CALL_BYTES = 0x7fff_f000;

/**
 * Copies a first part, perhaps all, of `lengthBytes` bytes.
 *
 * @returns Bytes copied, at least 1; or the negated errno.
 */
export type CopyCall = (sourceAddress: number, targetAddress: number, lengthBytes: number) => number;

const processVmReadv = libcFunction<[number, number, number, number, number, number], number>(
  'int64_t process_vm_readv(int pid, uintptr_t local, size_t localCount, uintptr_t remote, size_t remoteCount, size_t flags)',
);
const pread = libcFunction<[number, number, number, number], number>(
  'int64_t pread(int fd, uintptr_t target, size_t length, int64_t offset)',
);

/** Two `struct iovec`: target address, length, source address, length. One pair a thread, as calls are synchronous. */
const iovecs = new BigUint64Array(4);
const IOVEC_BYTES = 16;
let iovecsAddress = 0;

/** Reads from our own process as if it were another one. */
export const copyByProcessVmReadv: CopyCall = (sourceAddress, targetAddress, lengthBytes) => {
  if (iovecsAddress === 0) iovecsAddress = addressOf(iovecs);
  const callBytes = BigInt(Math.min(lengthBytes, MAX_CALL_BYTES));
  iovecs[0] = BigInt(targetAddress);
  iovecs[1] = callBytes;
  iovecs[2] = BigInt(sourceAddress);
  iovecs[3] = callBytes;
  const copied = processVmReadv(process.pid, iovecsAddress, 1, iovecsAddress + IOVEC_BYTES, 1, 0);
  if (copied < 0) return -errno();
  return copied === 0 ? -EFAULT : copied;
};

/** For sandboxes that forbid process_vm_readv. Opens the file on each call, as a thread has no end to close it at. */
export const copyByProcMem: CopyCall = (sourceAddress, targetAddress, lengthBytes) => {
  const fd = fs.openSync('/proc/self/mem', 'r');
  try {
    const copied = pread(fd, targetAddress, Math.min(lengthBytes, MAX_CALL_BYTES), sourceAddress);
    if (copied > 0) return copied;
    const failure = copied === 0 ? EFAULT : errno();
    return failure === EIO ? -EFAULT : -failure; // the file says EIO for a page that it cannot read
  } finally {
    fs.closeSync(fd);
  }
};

let preferredCopy: CopyCall = copyByProcessVmReadv;

function copySome(sourceAddress: number, targetAddress: number, lengthBytes: number): number {
  const copied = preferredCopy(sourceAddress, targetAddress, lengthBytes);
  const isForbidden = copied === -EPERM || copied === -ENOSYS;
  if (!isForbidden || preferredCopy === copyByProcMem) return copied;
  preferredCopy = copyByProcMem;
  return preferredCopy(sourceAddress, targetAddress, lengthBytes);
}

/**
 * Copies memory that may not be there. Synchronous: keep it to blocks of a few MiB outside worker threads.
 *
 * @param sourceAddress - Any address; nothing is assumed about it.
 * @param targetAddress - Likewise. The ranges must not overlap.
 * @throws P2P_MEMORY_FAULT When a page of either range is not mapped, lacks the right or lost its file; bytes before
 * that page may have been copied.
 */
export function copyGuarded(
  sourceAddress: number,
  targetAddress: number,
  lengthBytes: number,
  copy: CopyCall = copySome,
): void {
  let done = 0;
  while (done < lengthBytes) {
    const copied = copy(sourceAddress + done, targetAddress + done, lengthBytes - done);
    if (copied < 0) throw copyError(sourceAddress + done, lengthBytes - done, -copied);
    done += copied;
  }
}

function copyError(address: number, lengthBytes: number, failure: number): P2PStoreError {
  const cause = systemCallError('process_vm_readv', failure);
  if (failure !== EFAULT) return cause;
  return new P2PStoreError(
    ErrorCode.MemoryFault,
    `Cannot copy ${lengthBytes} bytes at 0x${address.toString(16)}: the memory is not mapped, or its file was truncated`,
    { address: BigInt(address), lengthBytes },
    { cause },
  );
}

const probeByte = new Uint8Array(1);

/** Whether the first and the last byte can be read now. An empty range always can. */
export function isReadable(address: number, lengthBytes: number): boolean {
  if (lengthBytes === 0) return true;
  const target = addressOf(probeByte);
  return copySome(address, target, 1) === 1 && copySome(address + lengthBytes - 1, target, 1) === 1;
}
