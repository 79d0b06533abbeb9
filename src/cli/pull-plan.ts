/**
 * Decides where the objects of a `get` go. Names come from other machines: one that would leave the output folder, or
 * that no file system could hold, is refused before anything is written.
 */
import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';

export interface RemoteObject {
  readonly name: string;
  readonly totalSize: number;
}

export interface PullItem {
  readonly kind: 'file' | 'folder';
  readonly name: string;
  /** Below the output folder, with `/` between its parts. */
  readonly relativePath: string;
  readonly bytes: number;
}

/** What Linux file systems allow for one part of a path. */
const PART_MAX_BYTES = 255;

/**
 * Plans the pull of every object below a prefix.
 *
 * @param prefix - Ends in `/`; what follows it in a name is the path in the output folder.
 * @throws P2P_RECORD_INVALID A name leaves the output folder, or two names need one path as file and as folder.
 */
export function planPull(prefix: string, objects: readonly RemoteObject[]): PullItem[] {
  const items = objects.map(({ name, totalSize }): PullItem => {
    const relative = name.slice(prefix.length);
    const isFolder = relative === '' || relative.endsWith('/');
    const relativePath = isFolder ? relative.slice(0, -1) : relative;
    if (relative !== '') checkParts(name, relativePath);
    if (isFolder && totalSize > 0) throw refused(name, `it names a folder but has ${totalSize} bytes`);
    return { kind: isFolder ? 'folder' : 'file', name, relativePath, bytes: totalSize };
  });
  refuseConflicts(items);
  return items;
}

/**
 * The last part of a name, as the name of a file.
 *
 * @throws P2P_RECORD_INVALID It is none.
 */
export function fileNameOf(name: string): string {
  const last = name.slice(name.lastIndexOf('/') + 1);
  checkParts(name, last);
  return last;
}

function refused(name: string, state: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.RecordInvalid, `Cannot write object "${name}" to a file: ${state}`, { key: name });
}

function checkParts(name: string, relativePath: string): void {
  for (const part of relativePath.split('/')) {
    if (part === '') throw refused(name, 'a part of its path is empty');
    if (part === '.' || part === '..') throw refused(name, `"${part}" in its path would leave the output folder`);
    if (part.includes('\0')) throw refused(name, 'its path holds a NUL character');
    if (Buffer.byteLength(part) > PART_MAX_BYTES) {
      throw refused(name, `a part of its path has more than ${PART_MAX_BYTES} bytes`);
    }
  }
}

/** A path may be a file once, or a folder as often as it likes. */
function refuseConflicts(items: readonly PullItem[]): void {
  const files = new Map(items.filter(({ kind }) => kind === 'file').map((item) => [item.relativePath, item.name]));
  for (const item of items) {
    const parts = item.relativePath.split('/');
    const ownFolders = item.kind === 'folder' ? parts.length : parts.length - 1;
    for (let depth = 1; depth <= ownFolders; depth += 1) {
      const file = files.get(parts.slice(0, depth).join('/'));
      if (file !== undefined) throw refused(item.name, `"${file}" is a file where it needs a folder`);
    }
  }
}

/**
 * Checks that `items` can be put below `outputPath` as it is now: no file stands where a folder is needed or the other
 * way round, and no link on the way leads out.
 *
 * @throws P2P_FILE_FAILED
 */
export async function checkOutput(outputPath: string, items: readonly PullItem[]): Promise<void> {
  const output = await lstatOrNothing(outputPath, fs.stat);
  if (output === undefined) return;
  if (!output.isDirectory()) throw fileFailed(outputPath, 'it is not a folder');
  const root = await fs.realpath(outputPath);
  const checked = new Set<string>();
  for (const item of items) {
    const parts = item.relativePath === '' ? [] : item.relativePath.split('/');
    const folders = item.kind === 'folder' ? parts.length : parts.length - 1;
    for (let depth = 1; depth <= folders; depth += 1) {
      const folder = path.join(outputPath, ...parts.slice(0, depth));
      if (checked.has(folder)) continue;
      checked.add(folder);
      await checkFolder(root, folder);
    }
    if (item.kind === 'file') await checkFile(path.join(outputPath, ...parts));
  }
}

async function checkFolder(root: string, folder: string): Promise<void> {
  const stats = await lstatOrNothing(folder, fs.lstat);
  if (stats === undefined) return;
  if (stats.isSymbolicLink()) {
    const target = await fs.realpath(folder).catch((cause: unknown) => {
      throw fileFailed(folder, 'it is a link that leads nowhere', cause);
    });
    if (target !== root && !target.startsWith(`${root}${path.sep}`)) {
      throw fileFailed(folder, `it is a link to ${target}, outside the output folder`);
    }
  }
  const target = await fs.stat(folder);
  if (!target.isDirectory()) throw fileFailed(folder, 'it is not a folder, and a folder is needed there');
}

/** A link there is replaced, not followed: it is the same as a file. */
async function checkFile(file: string): Promise<void> {
  const stats = await lstatOrNothing(file, fs.lstat);
  if (stats === undefined || stats.isFile() || stats.isSymbolicLink()) return;
  throw fileFailed(file, `${stats.isDirectory() ? 'a folder' : 'a special file'} stands where a file is needed`);
}

async function lstatOrNothing(at: string, stat: (at: string) => Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await stat(at);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw fileFailed(at, `the system answered ${String(code)}`, cause);
  }
}

function fileFailed(at: string, state: string, cause?: unknown): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.FileFailed,
    `Cannot write to ${at}: ${state}`,
    { path: at, operation: 'check' },
    cause === undefined ? undefined : { cause },
  );
}
