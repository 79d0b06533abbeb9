import fs from 'node:fs';
import path from 'node:path';

/** What tests of the project itself read: its files, as they lie on disk. */
export const PROJECT_ROOT: string = path.join(import.meta.dirname, '..', '..');

const SKIPPED_FOLDERS: ReadonlySet<string> = new Set(['.git', '.cache', 'node_modules', 'dist', 'coverage', 'gen']);

/**
 * Lists the files below a folder that people write: nothing installed, built or generated.
 *
 * @param folder - Relative to the root of the project; '' for all of it.
 * @returns Paths relative to the root, in order. None when there is no such folder.
 */
export function listFiles(folder: string): string[] {
  const absolute = path.join(PROJECT_ROOT, folder);
  if (!fs.existsSync(absolute)) return [];
  return fs
    .readdirSync(absolute, { withFileTypes: true })
    .flatMap((entry) => {
      const name = path.posix.join(folder, entry.name);
      if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : listFiles(name);
      return entry.isFile() ? [name] : [];
    })
    .sort();
}

/** @param file - Relative to the root of the project. */
export function readText(file: string): string {
  return fs.readFileSync(path.join(PROJECT_ROOT, file), 'utf8');
}

export function fileExists(file: string): boolean {
  return fs.existsSync(path.join(PROJECT_ROOT, file));
}

/** @returns The modules that a TypeScript source names in imports and re-exports, types included. */
export function importsOf(source: string): string[] {
  return [...source.matchAll(/\b(?:from|import|require)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
}
