import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkOutput } from '../../../../src/store/folder/check-output.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

describe('checkOutput', () => {
  let folder: TemporaryFolder;
  const { signal } = new AbortController();
  /** A path that ends in `/` is that of a folder. */
  const check = (output: string, ...paths: string[]): Promise<boolean> => {
    const items = paths.map((at) => ({ kind: at.endsWith('/') ? 'folder' : 'file', relativePath: at }) as const);
    const trimmed = items.map((item) => ({ ...item, relativePath: item.relativePath.replace(/\/$/, '') }));
    return checkOutput(folder.file(output), trimmed, signal);
  };
  const failed = (relative: string) =>
    expect.objectContaining({
      code: 'P2P_FILE_FAILED',
      context: { path: folder.file(relative), operation: 'check' },
    });

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    await fs.mkdir(folder.file('out'));
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  test('accepts a folder that is not there, and one with files to replace', async () => {
    expect(await check('none', 'a/b')).toBe(false);
    await fs.mkdir(folder.file('out/sub'));
    await fs.writeFile(folder.file('out/sub/a'), '');
    await fs.symlink('/etc/passwd', folder.file('out/b')); // replaced, not followed
    expect(await check('out', 'sub/a', 'b')).toBe(true);
  });

  test('refuses an output that is a file, or a link that leads nowhere', async () => {
    await fs.writeFile(folder.file('file'), '');
    await expect(check('file')).rejects.toEqual(failed('file'));
    await fs.symlink('nowhere', folder.file('broken'));
    await expect(check('broken')).rejects.toEqual(failed('broken'));
  });

  test('refuses a link that leads out, accepts one that stays inside', async () => {
    await fs.mkdir(folder.file('elsewhere'));
    await fs.mkdir(folder.file('out/inside'));
    await fs.symlink('../elsewhere', folder.file('out/leak'));
    await fs.symlink('inside', folder.file('out/stays'));
    await fs.symlink('nowhere', folder.file('out/broken'));
    await check('out', 'stays/a');
    await expect(check('out', 'leak/a')).rejects.toEqual(failed('out/leak'));
    await expect(check('out', 'leak/')).rejects.toEqual(failed('out/leak'));
    await expect(check('out', 'leak/x/y/a')).rejects.toEqual(failed('out/leak'));
    await expect(check('out', 'broken/a')).rejects.toEqual(failed('out/broken'));
  });

  test('refuses a sibling whose path only begins like the output', async () => {
    await fs.mkdir(folder.file('output-other'));
    await fs.symlink('../output-other', folder.file('out/leak'));
    await expect(check('out', 'leak/a')).rejects.toEqual(failed('out/leak'));
  });

  test('refuses a file for a folder, a folder for a file, and special files', async () => {
    await fs.writeFile(folder.file('out/file'), '');
    await fs.mkdir(folder.file('out/folder'));
    execFileSync('mkfifo', [folder.file('out/pipe')]);
    await expect(check('out', 'file/a')).rejects.toEqual(failed('out/file'));
    await expect(check('out', 'folder')).rejects.toEqual(failed('out/folder'));
    await expect(check('out', 'pipe')).rejects.toEqual(failed('out/pipe'));
  });
});
