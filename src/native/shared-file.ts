/** Files in memory that other processes of the host open through /proc, and locks by which they tell each other what they use. */
import { constants } from 'node:os';
import { addressOf } from './address.ts';
import { errno, libcFunction, systemCallError } from './libc.ts';

const memfdCreate = libcFunction<[string, number], number>('int memfd_create(str name, uint flags)');
// It takes a variable number of arguments; on Linux one more is passed as any other.
const fcntl = libcFunction<[number, number, number], number>('int fcntl(int fd, int command, uintptr_t argument)');

const MFD_CLOEXEC = 1;
/** Locks that belong to the open file and not to the process: they end with it, also when the process is killed. */
const F_OFD_SETLK = 37;
const LOCK_TYPES = { shared: 0, exclusive: 1, none: 2 } as const;
const { EAGAIN, EACCES } = constants.errno;

/** `struct flock`: type and origin, two bytes each, start, length, process (0). One a thread, as calls are synchronous. */
const flock = new DataView(new ArrayBuffer(32));
const START_AT = 8;
const LENGTH_AT = 16;
let flockAddress = 0;

/**
 * Creates an empty file in memory, without a place in the file system: it goes with the last who has it open. Others open it as
 * `/proc/<pid>/fd/<descriptor>`, as far as they might look into this process.
 *
 * @param name - For people who look there.
 * @returns The descriptor; the caller closes it.
 * @throws P2P_SYSTEM_CALL_FAILED
 */
export function createSharedFile(name: string): number {
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) throw systemCallError('memfd_create', errno());
  return fd;
}

/**
 * Takes, changes or gives back a lock on bytes of an open file; they need not exist.
 *
 * @param fd - Open for reading for a shared lock, for writing for an exclusive one.
 * @returns False when somebody else's lock is in the way.
 * @throws P2P_SYSTEM_CALL_FAILED
 */
export function lockBytes(fd: number, start: number, lengthBytes: number, kind: keyof typeof LOCK_TYPES): boolean {
  if (flockAddress === 0) flockAddress = addressOf(flock);
  flock.setInt16(0, LOCK_TYPES[kind], true);
  flock.setBigInt64(START_AT, BigInt(start), true);
  flock.setBigInt64(LENGTH_AT, BigInt(lengthBytes), true);
  if (fcntl(fd, F_OFD_SETLK, flockAddress) === 0) return true;
  const failure = errno();
  if (failure === EAGAIN || failure === EACCES) return false;
  throw systemCallError('fcntl', failure);
}
