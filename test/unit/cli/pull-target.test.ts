import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PullItem } from '../../../src/cli/pull-plan.ts';
import { openPullTarget } from '../../../src/cli/pull-target.ts';
import { ErrorCode } from '../../../src/core/errors.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

const itemOf = (relativePath: string): PullItem => ({
  kind: 'file',
  name: `set/${relativePath}`,
  relativePath,
  bytes: 1,
  isEmptyFolder: false,
});
const { signal } = new AbortController();

describe('openPullTarget()', () => {
  let folder: TemporaryFolder;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const list = async (): Promise<string[]> => (await fs.readdir(folder.path, { recursive: true })).sort();

  test('puts an object at the path, in a folder that is there, or in one that the path says is to be', async () => {
    await fs.mkdir(folder.file('here'));
    for (const [output, place] of [
      ['new/copy', 'new/copy'],
      ['here', 'here/part'],
      ['there/', 'there/part'],
    ] as const) {
      await using target = await openPullTarget('set/part', folder.file(output));
      await target.open([itemOf('part')], signal);
      expect(target.placeOf(itemOf('part'))).toBe(folder.file(place));
    }
    expect(await list()).toEqual(['here']);
  });

  test('keeps the folders that it made once the object is there', async () => {
    {
      await using target = await openPullTarget('x', folder.file('a/b/copy'));
      await target.commit();
    }
    expect(await list()).toEqual(['a', 'a/b']);
  });

  test('fills a folder with all objects below a prefix, or with nothing', async () => {
    for (const isCommitted of [false, true]) {
      await using target = await openPullTarget('set/', folder.file('out'));
      await target.open([itemOf('part')], signal);
      await fs.writeFile(target.placeOf(itemOf('part')), 'x');
      expect(await list()).not.toContain('out/part');
      if (isCommitted) await target.commit();
    }
    expect(await list()).toEqual(['out', 'out/part']);
  });

  test('leaves a folder that is one object to the store', async () => {
    const item = { ...itemOf(''), kind: 'folder' as const };
    await using target = await openPullTarget('set/', folder.file('out'));
    await target.open([item], signal);
    expect(target.placeOf(item)).toBe(folder.file('out'));
    await target.commit();
    expect(await list()).toEqual([]);
  });

  test('refuses an empty path, and one below a file', async () => {
    await expect(openPullTarget('x', '')).rejects.toMatchObject({ code: ErrorCode.InvalidArgument });
    await fs.writeFile(folder.file('file'), '');
    await expect(openPullTarget('x', folder.file('file/copy'))).rejects.toMatchObject({ code: ErrorCode.FileFailed });
  });
});
