import fs from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OutputFolder, type OutputItem, requireFreeSpace } from '../../../../src/store/folder/output-folder.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

const file = (relativePath: string, bytes = 1): OutputItem => ({ kind: 'file', relativePath, bytes });
const folderItem = (relativePath: string): OutputItem => ({ kind: 'folder', relativePath, bytes: 0 });

describe('OutputFolder', () => {
  let folder: TemporaryFolder;
  const list = async (): Promise<string[]> => (await fs.readdir(folder.path, { recursive: true })).sort();

  const { signal } = new AbortController();
  const open = (output: string, items: readonly OutputItem[]): Promise<OutputFolder> =>
    OutputFolder.open(output, items, signal);

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  test('commit() puts files and folders in their places, over files that are there', async () => {
    await fs.mkdir(folder.file('out'));
    await fs.writeFile(folder.file('out/a'), 'old');
    const items = [file('a'), file('sub/deep/b'), folderItem('none'), folderItem('')];
    await using output = await open(folder.file('out'), items);
    await fs.writeFile(output.stagedPath(file('a')), 'new');
    await fs.writeFile(output.stagedPath(file('sub/deep/b')), 'b');
    expect(await fs.readFile(folder.file('out/a'), 'utf8')).toBe('old');
    await output.commit();
    await output.close();
    expect(await list()).toEqual(['out', 'out/a', 'out/none', 'out/sub', 'out/sub/deep', 'out/sub/deep/b']);
    expect(await fs.readFile(folder.file('out/a'), 'utf8')).toBe('new');
  });

  test('commit() makes a folder that was not there in one step', async () => {
    await using output = await open(folder.file('new/out'), [file('a/b'), folderItem('none')]);
    await fs.writeFile(output.stagedPath(file('a/b')), 'b');
    await expect(fs.stat(folder.file('new/out'))).rejects.toMatchObject({ code: 'ENOENT' });
    await output.commit();
    await output.close();
    expect(await list()).toEqual(['new', 'new/out', 'new/out/a', 'new/out/a/b', 'new/out/none']);
  });

  test('commit() moves nothing when something came to stand in the way meanwhile', async () => {
    await fs.mkdir(folder.file('out'));
    const output = await open(folder.file('out'), [file('a'), file('b'), file('sub/c')]);
    for (const item of ['a', 'b', 'sub/c']) await fs.writeFile(output.stagedPath(file(item)), 'new');
    await fs.mkdir(folder.file('out/b'));
    await fs.mkdir(folder.file('out/sub'));
    await expect(output.commit()).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
    await output.close();
    expect(await list()).toEqual(['out', 'out/b', 'out/sub']);
  });

  test('commit() keeps what else is in a folder', async () => {
    await fs.mkdir(folder.file('out/sub'), { recursive: true });
    await fs.writeFile(folder.file('out/sub/mine'), 'mine');
    await using output = await open(folder.file('out'), [file('sub/a')]);
    await fs.writeFile(output.stagedPath(file('sub/a')), 'a');
    await output.commit();
    await output.close();
    expect(await list()).toEqual(['out', 'out/sub', 'out/sub/a', 'out/sub/mine']);
  });

  test('close() without commit() leaves what was there, and nothing else', async () => {
    await fs.mkdir(folder.file('out'));
    await fs.writeFile(folder.file('out/a'), 'old');
    const output = await open(folder.file('out/x/y'), [file('a'), file('b/c')]);
    await fs.writeFile(output.stagedPath(file('b/c')), 'part');
    await output.close();
    await output.close();
    expect(await list()).toEqual(['out', 'out/a']);
  });

  test('close() keeps a folder that somebody else uses meanwhile', async () => {
    const output = await open(folder.file('x/y'), [file('a')]);
    await fs.writeFile(folder.file('x/mine'), '');
    await output.close();
    expect(await list()).toEqual(['x', 'x/mine']);
  });

  test('a link where a file goes is replaced, not followed', async () => {
    await fs.writeFile(folder.file('victim'), 'safe');
    await fs.mkdir(folder.file('out'));
    await fs.symlink(folder.file('victim'), folder.file('out/a'));
    await using output = await open(folder.file('out'), [file('a')]);
    await fs.writeFile(output.stagedPath(file('a')), 'new');
    await output.commit();
    expect(await fs.readFile(folder.file('victim'), 'utf8')).toBe('safe');
    expect((await fs.lstat(folder.file('out/a'))).isFile()).toBe(true);
  });

  test('open() refuses more bytes than are free, and leaves nothing', async () => {
    await expect(open(folder.file('out'), [file('a', 2 ** 52)])).rejects.toMatchObject({
      code: 'P2P_DISK_FULL',
    });
    expect(await list()).toEqual([]);
  });

  test('open() refuses what stands in the way before it makes anything', async () => {
    await fs.writeFile(folder.file('taken'), '');
    await expect(open(folder.file('taken/out'), [file('a')])).rejects.toMatchObject({
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
