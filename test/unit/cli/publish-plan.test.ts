import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { planPublish } from '../../../src/cli/publish-plan.ts';

describe('planPublish', () => {
  let folder: string;
  const at = (...parts: string[]): string => path.join(folder, ...parts);
  const write = async (relative: string, text: string): Promise<void> => {
    await fs.mkdir(path.dirname(at(relative)), { recursive: true });
    await fs.writeFile(at(relative), text);
  };
  const names = async (paths: readonly string[], name?: string): Promise<string[]> =>
    (await planPublish(paths, name)).items.map((item) => item.name);

  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2p-walk-'));
  });
  afterEach(() => fs.rm(folder, { recursive: true, force: true }));

  test('a file is one object, named by its last part or as asked', async () => {
    await write('model.bin', 'hello');
    const { items, roots } = await planPublish([at('model.bin')], undefined);
    expect(items).toEqual([{ kind: 'file', name: 'model.bin', path: at('model.bin'), bytes: 5 }]);
    expect(roots).toEqual(['model.bin']);
    expect(await names([at('model.bin')], 'a/b')).toEqual(['a/b']);
  });

  test('a folder is one object a file, in order, with sub-folders, empty files and empty folders', async () => {
    await write('d/b.bin', 'b');
    await write('d/a.bin', '');
    await write('d/sub/deep/c.bin', 'c');
    await fs.mkdir(at('d/none'));
    const { items, roots } = await planPublish([at('d')], 'm');
    expect(items.map(({ kind, name, bytes }) => [kind, name, bytes])).toEqual([
      ['file', 'm/a.bin', 0],
      ['file', 'm/b.bin', 1],
      ['folder', 'm/none/', 0],
      ['file', 'm/sub/deep/c.bin', 1],
    ]);
    expect(roots).toEqual(['m/']);
  });

  test('a folder that is empty itself is one object of no bytes', async () => {
    await fs.mkdir(at('d'));
    expect(await names([`${at('d')}/`])).toEqual(['d/']);
  });

  test('a slash at the end of the name changes nothing', async () => {
    await write('d/a', 'a');
    expect(await names([at('d')], 'm/')).toEqual(['m/a']);
  });

  test('several paths go below the name, or stand beside each other without one', async () => {
    await write('a', 'a');
    await write('d/b', 'b');
    expect(await planPublish([at('a'), at('d')], 'm')).toMatchObject({
      items: [{ name: 'm/a' }, { name: 'm/d/b' }],
      roots: ['m/'],
    });
    expect(await planPublish([at('a'), at('d')], undefined)).toMatchObject({
      items: [{ name: 'a' }, { name: 'd/b' }],
      roots: ['a', 'd/'],
    });
  });

  test('links to files and folders are followed', async () => {
    await write('blobs/1', 'one');
    await fs.mkdir(at('d'));
    await fs.symlink('../blobs/1', at('d/model'));
    await fs.symlink('../blobs', at('d/all'));
    expect(await planPublish([at('d')], 'm')).toMatchObject({
      items: [
        { name: 'm/all/1', bytes: 3 },
        { name: 'm/model', bytes: 3 },
      ],
    });
  });

  const failed = (relative: string) =>
    expect.objectContaining({ code: 'P2P_FILE_FAILED', context: expect.objectContaining({ path: at(relative) }) });

  test('refuses a link that leads back to a folder around it', async () => {
    await fs.mkdir(at('d/sub'), { recursive: true });
    await fs.symlink('..', at('d/sub/up'));
    await expect(planPublish([at('d')], 'm')).rejects.toEqual(failed('d/sub/up'));
  });

  test('refuses what does not exist, and links to it', async () => {
    await expect(planPublish([at('none')], undefined)).rejects.toEqual(failed('none'));
    await fs.mkdir(at('d'));
    await fs.symlink('gone', at('d/link'));
    await expect(planPublish([at('d')], undefined)).rejects.toEqual(failed('d/link'));
  });

  test('refuses pipes without waiting for their writer', async () => {
    await fs.mkdir(at('d'));
    execFileSync('mkfifo', [at('d/pipe')]);
    await expect(planPublish([at('d')], undefined)).rejects.toEqual(failed('d/pipe'));
  });

  test('refuses a file name that is not UTF-8', async () => {
    await fs.mkdir(at('d'));
    await fs.writeFile(Buffer.concat([Buffer.from(`${at('d')}/`), Buffer.from([0x66, 0xff])]), '');
    await expect(planPublish([at('d')], undefined)).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
  });

  test('refuses two paths with one name, and paths without one', async () => {
    await write('x/a', 'a');
    await write('y/a', 'a');
    const unnamed = { code: 'P2P_INVALID_ARGUMENT', context: { argument: '--name' } };
    await expect(planPublish([at('x/a'), at('y/a')], 'm')).rejects.toMatchObject(unnamed);
    await expect(planPublish(['/'], undefined)).rejects.toMatchObject(unnamed);
    await expect(planPublish([at('x/a')], '/')).rejects.toMatchObject(unnamed);
  });
});
