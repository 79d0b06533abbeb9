import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { defaultDirectory, prepareDirectory } from '../../../../src/metadata/embedded/directory.ts';
import { makeTemporaryFolder } from '../../../support/temporary-folder.ts';

describe('defaultDirectory', () => {
  test('lies in the runtime directory of the user, or in the temporary one under the id of the user', () => {
    expect(defaultDirectory({ XDG_RUNTIME_DIR: '/run/user/7' })).toBe('/run/user/7/p2pstore');
    expect(defaultDirectory({})).toBe(path.join(os.tmpdir(), `p2pstore-${process.getuid?.()}`));
    expect(defaultDirectory({ XDG_RUNTIME_DIR: 'relative' })).toBe(defaultDirectory({}));
  });
});

describe('prepareDirectory', () => {
  test('makes the directory for its user alone, and takes away the write permission of others', async () => {
    await using folder = await makeTemporaryFolder();
    prepareDirectory(folder.file('new'));
    expect((await stat(folder.file('new'))).mode & 0o777).toBe(0o700);
    await mkdir(folder.file('open'));
    await chmod(folder.file('open'), 0o777);
    prepareDirectory(folder.file('open'));
    expect((await stat(folder.file('open'))).mode & 0o777).toBe(0o700);
  });

  test('reports a path that cannot be a directory', async () => {
    await using folder = await makeTemporaryFolder();
    await writeFile(folder.file('file'), '');
    expect(() => prepareDirectory(folder.file('file/sub'))).toThrow(
      expect.objectContaining({ code: ErrorCode.MetadataUnavailable }),
    );
  });

  test.skipIf(process.getuid?.() !== 0)('refuses a directory of another user', async () => {
    await using folder = await makeTemporaryFolder();
    const { chownSync } = await import('node:fs');
    chownSync(folder.path, 12345, 12345);
    expect(() => prepareDirectory(folder.path)).toThrow(expect.objectContaining({ code: ErrorCode.MetadataDenied }));
  });
});
