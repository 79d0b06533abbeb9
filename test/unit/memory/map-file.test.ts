import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { mapFile } from '../../../src/memory/map-file.ts';
import { countOpenRegions } from '../../../src/memory/memory-region.ts';
import { addressOf } from '../../../src/native/address.ts';
import { copyGuarded } from '../../../src/native/copy.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

describe('mapFile', () => {
  test('maps the bytes of the file, and holds no descriptor', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('a.bin');
    await fs.writeFile(path, 'some bytes');
    await using region = await mapFile(path);
    expect(region).toMatchObject({ sizeBytes: 10, kind: 'file', isWritable: false, path });
    const bytes = Buffer.alloc(10);
    copyGuarded(Number(region.address), addressOf(bytes), 10);
    expect(bytes.toString()).toBe('some bytes');
    const open = await fs.readdir('/proc/self/fd');
    const targets = await Promise.all(open.map((fd) => fs.readlink(`/proc/self/fd/${fd}`).catch(() => '')));
    expect(targets).not.toContain(path);
  });

  test('keeps the bytes of a file that is deleted', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'kept');
    await using region = await mapFile(folder.file('a'));
    await fs.unlink(folder.file('a'));
    const bytes = Buffer.alloc(4);
    copyGuarded(Number(region.address), addressOf(bytes), 4);
    expect(bytes.toString()).toBe('kept');
  });

  test('gives no view', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'x');
    await using region = await mapFile(folder.file('a'));
    expect(() => region.view()).toThrow(expect.objectContaining({ code: 'P2P_UNSUPPORTED' }));
  });

  test('maps an empty file', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), '');
    await using region = await mapFile(folder.file('a'));
    expect(region.sizeBytes).toBe(0);
  });

  test('rejects with P2P_FILE_FAILED for what is no file: missing, a folder, a pipe', async () => {
    await using folder = await makeTemporaryFolder();
    execFileSync('mkfifo', [folder.file('pipe')]);
    for (const path of [folder.file('missing'), folder.path, folder.file('pipe'), '/dev/zero']) {
      await expect(mapFile(path)).rejects.toMatchObject({
        code: 'P2P_FILE_FAILED',
        context: { path, operation: 'map' },
        cause: expect.any(Error),
      });
    }
    expect(countOpenRegions()).toBe(0);
  });

  test.skipIf(process.getuid?.() === 0)('rejects with P2P_FILE_FAILED for a file it may not read', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'x', { mode: 0 });
    await expect(mapFile(folder.file('a'))).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
  });
});
