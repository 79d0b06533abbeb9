import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { syncFileSystem } from '../../../src/native/sync-file-system.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

describe('syncFileSystem', () => {
  test('takes any descriptor of the file system', async () => {
    await using folder = await makeTemporaryFolder();
    await using opened = await fs.open(folder.path, 'r');
    await syncFileSystem(opened.fd);
  });

  test('rejects with the errno of the thread that ran the call', async () => {
    await expect(syncFileSystem(-1)).rejects.toMatchObject({ context: { errnoName: 'EBADF' } });
  });
});
