import { libcAsyncFunction, systemCallError } from './libc.ts';

const syncfsAsync = libcAsyncFunction<[number], number>('int syncfs(int fd)');

/**
 * Writes everything that a file system holds in memory to its disk, on another thread: for thousands of new files, one
 * call in place of one each. It also waits for what others wrote there.
 *
 * @param fd - Any open file or folder of the file system.
 * @throws P2P_SYSTEM_CALL_FAILED EIO, ENOSPC or EDQUOT when some write failed.
 */
export async function syncFileSystem(fd: number): Promise<void> {
  const outcome = await syncfsAsync(fd);
  if (outcome.result !== 0) throw systemCallError('syncfs', outcome.errno);
}
