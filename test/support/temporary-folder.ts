import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
  file(name: string): string;
}

/** Makes an empty folder that is removed, with what is in it, at the end of the scope. */
export async function makeTemporaryFolder(parent: string = os.tmpdir()): Promise<TemporaryFolder> {
  const folder = await fs.mkdtemp(path.join(parent, 'p2pstore-test-'));
  return {
    path: folder,
    file: (name) => path.join(folder, name),
    [Symbol.asyncDispose]: () => fs.rm(folder, { recursive: true, force: true }),
  };
}
