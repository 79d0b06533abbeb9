import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { MadeFolders } from '../../../../src/store/folder/made-folders.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

describe('MadeFolders', () => {
  let folder: TemporaryFolder;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const list = async (): Promise<string[]> => (await fs.readdir(folder.path, { recursive: true })).sort();

  test('go again, but not those that were there, nor what others put there', async () => {
    await fs.mkdir(folder.file('here'));
    const made = await MadeFolders.make(folder.file('here/a/b'));
    expect(await list()).toEqual(['here', 'here/a', 'here/a/b']);
    await fs.writeFile(folder.file('here/a/other'), '');
    await made[Symbol.asyncDispose]();
    expect(await list()).toEqual(['here', 'here/a', 'here/a/other']);
    await (await MadeFolders.make(folder.file('here/a')))[Symbol.asyncDispose]();
    await (await MadeFolders.make(folder.file('c/d')))[Symbol.asyncDispose]();
    expect(await list()).toEqual(['here', 'here/a', 'here/a/other']);
  });

  test('stay when they are kept', async () => {
    const made = await MadeFolders.make(folder.file('a/b'));
    made.keep();
    await made[Symbol.asyncDispose]();
    expect(await list()).toEqual(['a', 'a/b']);
  });

  test('cannot be where a file is', async () => {
    await fs.writeFile(folder.file('file'), '');
    const at = folder.file('file/sub');
    await expect(MadeFolders.make(at)).rejects.toMatchObject({
      code: ErrorCode.FileFailed,
      context: { path: at, operation: 'make folder' },
    });
  });
});
