/**
 * Decides which objects a `publish` makes: one a file, named by its place below the paths that were given. An empty
 * folder becomes an object of no bytes whose name ends in `/`, so that a folder comes back whole.
 */
import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';

export interface PublishItem {
  readonly kind: 'file' | 'folder';
  readonly name: string;
  readonly path: string;
  /** Size when the plan was made; 0 for a folder. */
  readonly bytes: number;
}

export interface PublishPlan {
  readonly items: readonly PublishItem[];
  /** What a `get` asks for: a name, or a prefix that ends in `/`. One for each path without a common name. */
  readonly roots: readonly string[];
}

/**
 * Walks `paths`, in order of names. Links are followed.
 *
 * @param name - Name of the object or folder; of several paths each goes below it. Default: each path's last part.
 * @throws P2P_FILE_FAILED A path does not exist, cannot be read, or is neither a file nor a folder.
 * @throws P2P_INVALID_ARGUMENT Two paths make the same name, or a path has no last part to name it by.
 */
export async function planPublish(paths: readonly string[], name: string | undefined): Promise<PublishPlan> {
  const items: PublishItem[] = [];
  const roots: string[] = [];
  for (const given of paths) {
    const stats = await statPath(given);
    const rootName = nameOf(given, paths.length, name);
    await visit({ path: given, name: rootName, stats, ancestors: [] }, items);
    roots.push(stats.isDirectory() ? `${rootName}/` : rootName);
  }
  refuseDuplicates(items);
  const isBelowOneName = name !== undefined && paths.length > 1;
  return { items, roots: isBelowOneName ? [`${withoutEndSlash(name)}/`] : roots };
}

function withoutEndSlash(name: string): string {
  return name.replace(/\/+$/, '');
}

function nameOf(given: string, pathCount: number, name: string | undefined): string {
  const base = path.basename(path.resolve(given));
  if (name !== undefined && pathCount === 1) return withoutEndSlash(name) || invalidName(`"${name}" is no name`);
  if (base === '') return invalidName(`${given} has no last part to name it by, give it a --name`);
  return name === undefined ? base : `${withoutEndSlash(name) || invalidName(`"${name}" is no name`)}/${base}`;
}

function invalidName(state: string): never {
  throw new P2PStoreError(ErrorCode.InvalidArgument, `Cannot name what is published: ${state}`, { argument: '--name' });
}

function refuseDuplicates(items: readonly PublishItem[]): void {
  const seen = new Map<string, string>();
  for (const item of items) {
    const other = seen.get(item.name);
    if (other !== undefined) invalidName(`${other} and ${item.path} would both be "${item.name}"`);
    seen.set(item.name, item.path);
  }
}

interface Visit {
  readonly path: string;
  readonly name: string;
  readonly stats: Stats;
  /** Folders that this one lies in, as device and inode: a link back to one of them would never end. */
  readonly ancestors: readonly string[];
}

async function visit({ path: at, name, stats, ancestors }: Visit, items: PublishItem[]): Promise<void> {
  if (stats.isFile()) {
    items.push({ kind: 'file', name, path: at, bytes: stats.size });
    return;
  }
  if (!stats.isDirectory()) throw fileFailed(at, 'publish', `it is ${kindOf(stats)}, not a file or a folder`);
  const identity = `${stats.dev}:${stats.ino}`;
  if (ancestors.includes(identity)) throw fileFailed(at, 'publish', 'a link in it leads back to a folder around it');
  const children = await readFolder(at);
  if (children.length === 0) items.push({ kind: 'folder', name: `${name}/`, path: at, bytes: 0 });
  for (const child of children) {
    const childPath = path.join(at, child);
    const next = {
      path: childPath,
      name: `${name}/${child}`,
      stats: await statPath(childPath),
      ancestors: [...ancestors, identity],
    };
    await visit(next, items);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isSocket()) return 'a socket';
  if (stats.isFIFO()) return 'a named pipe';
  return 'a device';
}

async function readFolder(at: string): Promise<string[]> {
  let raw: Buffer[];
  try {
    raw = await fs.readdir(at, { encoding: 'buffer' });
  } catch (cause) {
    throw fileFailed(at, 'readdir', 'the folder cannot be read', cause);
  }
  return raw
    .map((bytes) => {
      const text = bytes.toString('utf8');
      if (!Buffer.from(text).equals(bytes)) throw fileFailed(path.join(at, text), 'publish', 'its name is not UTF-8');
      return text;
    })
    .sort();
}

async function statPath(at: string): Promise<Stats> {
  try {
    return await fs.stat(at);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const state = code === 'ENOENT' ? await missing(at) : `the system answered ${String(code)}`;
    throw fileFailed(at, 'stat', state, cause);
  }
}

async function missing(at: string): Promise<string> {
  const link = await fs.readlink(at).catch(() => undefined);
  return link === undefined ? 'it does not exist' : `it is a link to ${link}, which does not exist`;
}

function fileFailed(at: string, operation: string, state: string, cause?: unknown): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.FileFailed,
    `Cannot publish ${at}: ${state}`,
    { path: at, operation },
    cause === undefined ? undefined : { cause },
  );
}
