import fs from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OutputFolder, requireFreeSpace } from '../../../src/cli/output-folder.ts';
import type { PullItem } from '../../../src/cli/pull-plan.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

const file = (relativePath: string, bytes = 1): PullItem => ({ kind: 'file', name: relativePath, relativePath, bytes });
const folderItem = (relativePath: string): PullItem => ({ kind: 'folder', name: relativePath, relativePath, bytes: 0 });

describe('OutputFolder', () => {
  let folder: TemporaryFolder;
  const list = async (): Promise<string[]> => (await fs.readdir(folder.path, { recursive: true })).sort();

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  test('commit() puts files and folders in their places, over files that are there', async () => {
    await fs.mkdir(folder.file('out'));
    await fs.writeFile(folder.file('out/a'), 'old');
    const items = [file('a'), file('sub/deep/b'), folderItem('none'), folderItem('')];
    await using output = await OutputFolder.open(folder.file('out'), items);
    await fs.writeFile(output.stagedPath(file('a')), 'new');
    await fs.writeFile(output.stagedPath(file('sub/deep/b')), 'b');
    expect(await fs.readFile(folder.file('out/a'), 'utf8')).toBe('old');
    await output.commit();
    await output.close();
    expect(await list()).toEqual(['out', 'out/a', 'out/none', 'out/sub', 'out/sub/deep', 'out/sub/deep/b']);
    expect(await fs.readFile(folder.file('out/a'), 'utf8')).toBe('new');
  });

  test('close() without commit() leaves what was there, and nothing else', async () => {
    await fs.mkdir(folder.file('out'));
    await fs.writeFile(folder.file('out/a'), 'old');
    const output = await OutputFolder.open(folder.file('out/x/y'), [file('a'), file('b/c')]);
    await fs.writeFile(output.stagedPath(file('b/c')), 'part');
    await output.close();
    await output.close();
    expect(await list()).toEqual(['out', 'out/a']);
  });

  test('close() keeps a folder that somebody else uses meanwhile', async () => {
    const output = await OutputFolder.open(folder.file('x/y'), [file('a')]);
    await fs.writeFile(folder.file('x/mine'), '');
    await output.close();
    expect(await list()).toEqual(['x', 'x/mine']);
  });

  test('a link where a file goes is replaced, not followed', async () => {
    await fs.writeFile(folder.file('victim'), 'safe');
    await fs.mkdir(folder.file('out'));
    await fs.symlink(folder.file('victim'), folder.file('out/a'));
    await using output = await OutputFolder.open(folder.file('out'), [file('a')]);
    await fs.writeFile(output.stagedPath(file('a')), 'new');
    await output.commit();
    expect(await fs.readFile(folder.file('victim'), 'utf8')).toBe('safe');
    expect((await fs.lstat(folder.file('out/a'))).isFile()).toBe(true);
  });

  test('open() refuses more bytes than are free, and leaves nothing', async () => {
    await expect(OutputFolder.open(folder.file('out'), [file('a', 2 ** 52)])).rejects.toMatchObject({
      code: 'P2P_DISK_FULL',
    });
    expect(await list()).toEqual([]);
  });

  test('open() refuses what stands in the way before it makes anything', async () => {
    await fs.writeFile(folder.file('taken'), '');
    await expect(OutputFolder.open(folder.file('taken/out'), [file('a')])).rejects.toMatchObject({
      code: 'P2P_FILE_FAILED',
    });
    expect(await list()).toEqual(['taken']);
  });
});

describe('requireFreeSpace', () => {
  test('accepts what fits', async () => {
    await requireFreeSpace(path.dirname(import.meta.filename), 1);
  });
});
