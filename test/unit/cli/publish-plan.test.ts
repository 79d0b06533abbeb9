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

  test('a folder is one object, whose name ends in /', async () => {
    await write('d/a', 'a');
    const { items, roots } = await planPublish([at('d')], 'm');
    expect(items).toEqual([{ kind: 'folder', name: 'm/', path: at('d'), bytes: 0 }]);
    expect(roots).toEqual(['m/']);
    expect(await names([`${at('d')}/`])).toEqual(['d/']);
  });

  test('a slash at the end of the name changes nothing', async () => {
    await write('d/a', 'a');
    expect(await names([at('d')], 'm/')).toEqual(['m/']);
    expect(await names([at('d/a')], 'm/')).toEqual(['m']);
  });

  test('several paths go below the name, or stand beside each other without one', async () => {
    await write('a', 'a');
    await write('d/b', 'b');
    expect(await planPublish([at('a'), at('d')], 'm')).toMatchObject({
      items: [{ name: 'm/a' }, { name: 'm/d/' }],
      roots: ['m/'],
    });
    expect(await planPublish([at('a'), at('d')], undefined)).toMatchObject({
      items: [{ name: 'a' }, { name: 'd/' }],
      roots: ['a', 'd/'],
    });
  });

  const failed = (relative: string) =>
    expect.objectContaining({ code: 'P2P_FILE_FAILED', context: expect.objectContaining({ path: at(relative) }) });

  test('refuses what does not exist, links to it, and pipes', async () => {
    await expect(planPublish([at('none')], undefined)).rejects.toEqual(failed('none'));
    await fs.symlink('gone', at('link'));
    await expect(planPublish([at('link')], undefined)).rejects.toEqual(failed('link'));
    execFileSync('mkfifo', [at('pipe')]);
    await expect(planPublish([at('pipe')], undefined)).rejects.toEqual(failed('pipe'));
  });

  test('refuses two paths with one name, and paths without one', async () => {
    await write('x/a', 'a');
    await write('y/a', 'a');
    const unnamed = { code: 'P2P_INVALID_ARGUMENT', context: { argument: '--name' } };
    await expect(planPublish([at('x/a'), at('y/a')], 'm')).rejects.toMatchObject(unnamed);
    await expect(planPublish([at('x/a'), at('x')], 'm')).resolves.toBeDefined();
    await fs.mkdir(at('z/a'), { recursive: true });
    await expect(planPublish([at('x/a'), at('z/a')], 'm')).rejects.toMatchObject(unnamed);
    await expect(planPublish(['/'], undefined)).rejects.toMatchObject(unnamed);
    await expect(planPublish([at('x/a')], '/')).rejects.toMatchObject(unnamed);
  });
});
