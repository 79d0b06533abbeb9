/** Finds what is in a folder that is to be published. Links are followed. */
import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

export interface WalkedFile {
  /** Below the folder, with `/` between its parts. */
  readonly relativePath: string;
  readonly path: string;
  /** When it was looked at. */
  readonly sizeBytes: number;
}

export interface WalkedFolder {
  /** In order of their names, folder by folder. */
  readonly files: readonly WalkedFile[];
  /** Relative paths of sub-folders with nothing in them. */
  readonly emptyFolders: readonly string[];
}

/** Look-ups in flight: more than the threads that do them have no use. */
const LOOKUPS_MAX = 16;

interface Visit {
  readonly path: string;
  readonly relativePath: string;
  readonly stats: Stats;
  /** Folders that this one lies in, as device and inode: a link back to one of them would never end. */
  readonly ancestors: readonly string[];
}

/**
 * @throws P2P_FILE_FAILED The folder or something in it does not exist, cannot be read, is neither a file nor a folder,
 * has a name that is not UTF-8, or is a link back to a folder around it.
 */
export async function walkFolder(folderPath: string, signal: AbortSignal): Promise<WalkedFolder> {
  const found = { files: [] as WalkedFile[], emptyFolders: [] as string[] };
  const stats = await statPath(folderPath);
  if (!stats.isDirectory()) throw cannotPublish(folderPath, 'stat', 'it is not a folder');
  await visit({ path: folderPath, relativePath: '', stats, ancestors: [] }, found, signal);
  return found;
}

async function visit(
  { path: at, relativePath, stats, ancestors }: Visit,
  found: { readonly files: WalkedFile[]; readonly emptyFolders: string[] },
  signal: AbortSignal,
): Promise<void> {
  const identity = `${stats.dev}:${stats.ino}`;
  if (ancestors.includes(identity)) throw cannotPublish(at, 'publish', 'a link in it leads back to a folder around it');
  const names = await readFolder(at);
  if (names.length === 0 && relativePath !== '') found.emptyFolders.push(relativePath);
  const children = new Map<string, Stats>();
  await forEachBounded(names, LOOKUPS_MAX, signal, async (name) => {
    children.set(name, await statPath(path.join(at, name)));
  });
  for (const name of names) {
    const childStats = children.get(name);
    if (childStats === undefined) continue;
    const child = { path: path.join(at, name), relativePath: relativePath === '' ? name : `${relativePath}/${name}` };
    if (childStats.isFile()) found.files.push({ ...child, sizeBytes: childStats.size });
    else if (childStats.isDirectory()) {
      await visit({ ...child, stats: childStats, ancestors: [...ancestors, identity] }, found, signal);
    } else throw cannotPublish(child.path, 'publish', `it is ${kindOf(childStats)}, not a file or a folder`);
  }
}

/** What a file that is neither a file nor a folder is called. */
export function kindOf(stats: Stats): string {
  if (stats.isSocket()) return 'a socket';
  if (stats.isFIFO()) return 'a named pipe';
  return 'a device';
}

async function readFolder(at: string): Promise<string[]> {
  let raw: Buffer[];
  try {
    raw = await fs.readdir(at, { encoding: 'buffer' });
  } catch (cause) {
    throw cannotPublish(at, 'readdir', 'the folder cannot be read', cause);
  }
  return raw
    .map((bytes) => {
      const text = bytes.toString('utf8');
      if (!Buffer.from(text).equals(bytes))
        throw cannotPublish(path.join(at, text), 'publish', 'its name is not UTF-8');
      return text;
    })
    .sort();
}

/** @throws P2P_FILE_FAILED Says whether the path, or what a link of that path leads to, is missing. */
export async function statPath(at: string): Promise<Stats> {
  try {
    return await fs.stat(at);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const state = code === 'ENOENT' ? await missing(at) : `the system answered ${String(code)}`;
    throw cannotPublish(at, 'stat', state, cause);
  }
}

async function missing(at: string): Promise<string> {
  const link = await fs.readlink(at).catch(() => undefined);
  return link === undefined ? 'it does not exist' : `it is a link to ${link}, which does not exist`;
}

export function cannotPublish(at: string, operation: string, state: string, cause?: unknown): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.FileFailed,
    `Cannot publish ${at}: ${state}`,
    { path: at, operation },
    cause === undefined ? undefined : { cause },
  );
}
