import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type WalkedFolder, walkFolder } from '../../../../src/store/folder/walk-folder.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

describe('walkFolder', () => {
  let folder: TemporaryFolder;
  const { signal } = new AbortController();
  const walk = (relative = 'd'): Promise<WalkedFolder> => walkFolder(folder.file(relative), signal);
  const write = async (relative: string, text: string): Promise<void> => {
    await fs.mkdir(path.dirname(folder.file(relative)), { recursive: true });
    await fs.writeFile(folder.file(relative), text);
  };

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    await fs.mkdir(folder.file('d'));
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  test('lists files in order, with sub-folders and empty files, and empty folders by themselves', async () => {
    await write('d/b.bin', 'b');
    await write('d/a.bin', '');
    await write('d/sub/deep/c.bin', 'cc');
    await fs.mkdir(folder.file('d/none/inside'), { recursive: true });
    expect(await walk()).toEqual({
      files: [
        { relativePath: 'a.bin', path: folder.file('d/a.bin'), sizeBytes: 0 },
        { relativePath: 'b.bin', path: folder.file('d/b.bin'), sizeBytes: 1 },
        { relativePath: 'sub/deep/c.bin', path: folder.file('d/sub/deep/c.bin'), sizeBytes: 2 },
      ],
      emptyFolders: ['none/inside'],
    });
  });

  test('an empty folder holds nothing', async () => {
    expect(await walk()).toEqual({ files: [], emptyFolders: [] });
  });

  test('follows links to files and folders', async () => {
    await write('blobs/1', 'one');
    await fs.symlink('../blobs/1', folder.file('d/model'));
    await fs.symlink('../blobs', folder.file('d/all'));
    expect((await walk()).files).toMatchObject([
      { relativePath: 'all/1', sizeBytes: 3 },
      { relativePath: 'model', sizeBytes: 3 },
    ]);
  });

  const failed = (relative: string) =>
    expect.objectContaining({
      code: 'P2P_FILE_FAILED',
      context: expect.objectContaining({ path: folder.file(relative) }),
    });

  test('refuses a link that leads back to a folder around it', async () => {
    await fs.mkdir(folder.file('d/sub'));
    await fs.symlink('..', folder.file('d/sub/up'));
    await expect(walk()).rejects.toEqual(failed('d/sub/up'));
  });

  test('refuses what does not exist, links to it, and a file', async () => {
    await expect(walk('none')).rejects.toEqual(failed('none'));
    await fs.symlink('gone', folder.file('d/link'));
    await expect(walk()).rejects.toEqual(failed('d/link'));
    await write('file', '');
    await expect(walk('file')).rejects.toEqual(failed('file'));
  });

  test('refuses pipes without waiting for their writer', async () => {
    execFileSync('mkfifo', [folder.file('d/pipe')]);
    await expect(walk()).rejects.toEqual(failed('d/pipe'));
  });

  test('refuses a file name that is not UTF-8', async () => {
    await fs.writeFile(Buffer.concat([Buffer.from(`${folder.file('d')}/`), Buffer.from([0x66, 0xff])]), '');
    await expect(walk()).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
  });
});
