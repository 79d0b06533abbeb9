/** Decides which objects a `publish` makes: one for each path, a file or a folder, and what they are called. */
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { cannotPublish, kindOf, statPath } from '../store/folder/walk-folder.ts';

export interface PublishItem {
  readonly kind: 'file' | 'folder';
  /** That of a folder ends in `/`. */
  readonly name: string;
  readonly path: string;
  /** Size of a file when the plan was made; that of a folder is known when it is registered. */
  readonly bytes: number;
}

export interface PublishPlan {
  readonly items: readonly PublishItem[];
  /** What a `get` asks for: a name, or a prefix that ends in `/`. One for each path without a common name. */
  readonly roots: readonly string[];
}

/**
 * @param name - Name of the object; of several paths each goes below it. Default: each path's last part.
 * @throws P2P_FILE_FAILED A path does not exist, cannot be read, or is neither a file nor a folder.
 * @throws P2P_INVALID_ARGUMENT Two paths make the same name, or a path has no last part to name it by.
 */
export async function planPublish(paths: readonly string[], name: string | undefined): Promise<PublishPlan> {
  const items: PublishItem[] = [];
  for (const given of paths) {
    const stats = await statPath(given);
    const itemName = nameOf(given, paths.length, name);
    if (stats.isFile()) items.push({ kind: 'file', name: itemName, path: given, bytes: stats.size });
    else if (stats.isDirectory()) items.push({ kind: 'folder', name: `${itemName}/`, path: given, bytes: 0 });
    else throw cannotPublish(given, 'publish', `it is ${kindOf(stats)}, not a file or a folder`);
  }
  refuseDuplicates(items);
  const isBelowOneName = name !== undefined && paths.length > 1;
  return { items, roots: isBelowOneName ? [`${withoutEndSlash(name)}/`] : items.map((item) => item.name) };
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

/** A file and a folder of one name are two objects, but no `get` could put them in one place. */
function refuseDuplicates(items: readonly PublishItem[]): void {
  const seen = new Map<string, string>();
  for (const item of items) {
    const place = withoutEndSlash(item.name);
    const other = seen.get(place);
    if (other !== undefined) invalidName(`${other} and ${item.path} would both be "${place}"`);
    seen.set(place, item.path);
  }
}
