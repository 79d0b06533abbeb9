/** What the kernel says of devices, in files below `/sys`. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** @returns Undefined when the file is not there, or the driver does not say. */
export function readText(folder: string, file: string): string | undefined {
  try {
    return readFileSync(path.join(folder, file), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** @returns Nothing when the folder is not there. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
