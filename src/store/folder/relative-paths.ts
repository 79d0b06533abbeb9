/**
 * Paths below an output folder. They come from other machines: one that would leave the folder, or that no file system
 * could hold, is refused before anything is written.
 */

/** Something that goes below an output folder. */
export interface PathItem {
  readonly kind: 'file' | 'folder';
  /** With `/` between its parts; the empty path of a folder is the output folder itself. */
  readonly relativePath: string;
}

/** What Linux allows for a path, and its file systems for one part of it. */
const PATH_MAX_BYTES = 4_096;
const PART_MAX_BYTES = 255;
/** Folders that the paths of one pull may need: a short text can name very many. */
const FOLDERS_MAX = 200_000;

/** @returns What is wrong with a path; undefined when it can go below an output folder. */
export function problemOfPath(relativePath: string): string | undefined {
  if (Buffer.byteLength(relativePath) > PATH_MAX_BYTES) return `its path has more than ${PATH_MAX_BYTES} bytes`;
  for (const part of relativePath.split('/')) {
    if (part === '') return 'a part of its path is empty';
    if (part === '.' || part === '..') return `"${part}" in its path would leave the output folder`;
    if (part.includes('\0')) return 'its path holds a NUL character';
    if (Buffer.byteLength(part) > PART_MAX_BYTES) return `a part of its path has more than ${PART_MAX_BYTES} bytes`;
  }
  return undefined;
}

/** The folder that an item needs: itself, or the one around a file. */
export function folderOf({ kind, relativePath }: PathItem): string {
  return kind === 'folder' ? relativePath : parentOf(relativePath);
}

/** The folder around a path; the empty path for one part. */
export function parentOf(relativePath: string): string {
  return relativePath.slice(0, Math.max(0, relativePath.lastIndexOf('/')));
}

/**
 * Looks for two items that cannot be in one folder: a path may be a file once, or a folder as often as it likes.
 *
 * @returns The item that is in the wrong, and why; undefined when all fit.
 */
export function findConflict<T extends PathItem>(
  items: readonly T[],
): { readonly item: T; readonly state: string } | undefined {
  const files = new Set<string>();
  for (const item of items.filter(({ kind }) => kind === 'file')) {
    if (files.has(item.relativePath)) return { item, state: `"${item.relativePath}" is there twice` };
    files.add(item.relativePath);
  }
  const folders = new Set<string>();
  for (const item of items) {
    for (let at = folderOf(item); at !== '' && !folders.has(at); at = parentOf(at)) {
      if (files.has(at)) return { item, state: `"${at}" is a file where it needs a folder` };
      folders.add(at);
    }
    if (folders.size > FOLDERS_MAX) return { item, state: `the paths need more than ${FOLDERS_MAX} folders` };
  }
  return undefined;
}
