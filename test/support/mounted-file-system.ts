import { execFileSync } from 'node:child_process';
import { makeTemporaryFolder, type TemporaryFolder } from './temporary-folder.ts';

/**
 * Mounts a small file system of its own at a temporary folder.
 *
 * @param options - As for `mount -o`, for example `size=1m`.
 */
export async function mountFileSystem(type: 'tmpfs' | 'ramfs', options?: string): Promise<TemporaryFolder> {
  const folder = await makeTemporaryFolder();
  try {
    const args = options === undefined ? [] : ['-o', options];
    execFileSync('mount', ['-t', type, ...args, 'p2pstore-test', folder.path], { stdio: 'pipe' });
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  return {
    ...folder,
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [folder.path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Why this process cannot mount, for a skipped test; undefined when it can. */
export async function mountObstacle(): Promise<string | undefined> {
  try {
    await using _folder = await mountFileSystem('tmpfs', 'size=64k');
    return undefined;
  } catch (error) {
    return `mounting is not permitted here: ${error instanceof Error ? error.message.split('\n')[0] : error}`;
  }
}
