/** Looks whether files can be put below a folder as it is now: before their bytes are pulled, and again before they move. */
import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { folderOf, type PathItem, parentOf } from './relative-paths.ts';

/** Look-ups in flight: more than the threads that do them have no use. */
const LOOKUPS_MAX = 16;

/**
 * Checks that `items` can be put below `outputPath`: no file stands where a folder is needed or the other way round,
 * and no link on the way leads out.
 *
 * @returns Whether the folder is there.
 * @throws P2P_FILE_FAILED
 */
export async function checkOutput(
  outputPath: string,
  items: readonly PathItem[],
  signal: AbortSignal,
): Promise<boolean> {
  const output = await lookAt(outputPath);
  if (output === undefined) return false;
  if (!(await follow(outputPath)).isDirectory()) throw fileFailed(outputPath, 'it is not a folder');
  const root = await fs.realpath(outputPath);
  const folders = new Set<string>();
  for (const item of items) {
    for (let at = folderOf(item); at !== '' && !folders.has(at); at = parentOf(at)) folders.add(at);
  }
  await forEachBounded([...folders], LOOKUPS_MAX, signal, async (folder) => {
    await checkFolder(root, path.join(outputPath, folder));
  });
  const files = items.filter(({ kind }) => kind === 'file');
  await forEachBounded(files, LOOKUPS_MAX, signal, ({ relativePath }) =>
    checkFile(path.join(outputPath, relativePath)),
  );
  return true;
}

/**
 * @param root - Real path of the output folder.
 * @returns Whether it is there.
 * @throws P2P_FILE_FAILED Something else stands there, or a link that leads out of `root`.
 */
export async function checkFolder(root: string, folder: string): Promise<boolean> {
  const stats = await lookAt(folder);
  if (stats === undefined) return false;
  if (stats.isSymbolicLink()) {
    const target = await realPath(folder);
    if (target !== root && !target.startsWith(`${root}${path.sep}`)) {
      throw fileFailed(folder, `it is a link to ${target}, outside the output folder`);
    }
  }
  if (!(await follow(folder)).isDirectory())
    throw fileFailed(folder, 'it is not a folder, and a folder is needed there');
  return true;
}

/**
 * A link there is replaced, not followed: it is the same as a file.
 *
 * @throws P2P_FILE_FAILED A folder or a special file is there.
 */
export async function checkFile(file: string): Promise<void> {
  const stats = await lookAt(file);
  if (stats === undefined || stats.isFile() || stats.isSymbolicLink()) return;
  throw fileFailed(file, `${stats.isDirectory() ? 'a folder' : 'a special file'} stands where a file is needed`);
}

async function lookAt(at: string): Promise<Stats | undefined> {
  try {
    return await fs.lstat(at);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw fileFailed(at, `the system answered ${String(code)}`, cause);
  }
}

async function follow(at: string): Promise<Stats> {
  return await fs.stat(at).catch((cause: unknown) => {
    throw fileFailed(at, 'it is a link that leads nowhere', cause);
  });
}

async function realPath(at: string): Promise<string> {
  return await fs.realpath(at).catch((cause: unknown) => {
    throw fileFailed(at, 'it is a link that leads nowhere', cause);
  });
}

function fileFailed(at: string, state: string, cause?: unknown): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.FileFailed,
    `Cannot write to ${at}: ${state}`,
    { path: at, operation: 'check' },
    cause === undefined ? undefined : { cause },
  );
}
