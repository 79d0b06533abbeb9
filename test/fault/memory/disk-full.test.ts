import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { createMappedFile } from '../../../src/memory/mapped-file.ts';
import { countOpenRegions } from '../../../src/memory/memory-region.ts';
import { addressOf } from '../../../src/native/address.ts';
import { copyGuarded } from '../../../src/native/copy.ts';
import { mountFileSystem, mountObstacle } from '../../support/mounted-file-system.ts';

const MIB = 2 ** 20;
const obstacle = await mountObstacle();

describe.skipIf(obstacle !== undefined)(`createMappedFile${obstacle === undefined ? '' : ` (${obstacle})`}`, () => {
  test('rejects with P2P_DISK_FULL when the file does not fit, and gives its blocks back', async () => {
    await using folder = await mountFileSystem('tmpfs', 'size=4m');
    await fs.writeFile(folder.file('other'), Buffer.alloc(2 * MIB));
    await expect(createMappedFile(folder.file('a'), 3 * MIB)).rejects.toMatchObject({
      code: 'P2P_DISK_FULL',
      context: { path: folder.file('a'), neededBytes: 3 * MIB },
      cause: { code: 'P2P_SYSTEM_CALL_FAILED', context: { call: 'fallocate', errnoName: 'ENOSPC' } },
    });
    expect(await fs.readdir(folder.path)).toEqual(['other']);
    expect(countOpenRegions()).toBe(0);
    await using fitting = await createMappedFile(folder.file('a'), 2 * MIB);
    await fitting.commit();
  });

  test('a file that is created can be filled to its end on a disk that is full by then', async () => {
    await using folder = await mountFileSystem('tmpfs', 'size=4m');
    await using file = await createMappedFile(folder.file('a'), 2 * MIB);
    await expect(fs.writeFile(folder.file('other'), Buffer.alloc(3 * MIB))).rejects.toMatchObject({ code: 'ENOSPC' });
    const bytes = Buffer.alloc(2 * MIB, 7);
    copyGuarded(addressOf(bytes), Number(file.region.address), bytes.length);
    await file.commit();
    expect((await fs.readFile(folder.file('a'))).equals(bytes)).toBe(true);
  });

  test('works where the file system cannot reserve blocks', async () => {
    await using folder = await mountFileSystem('ramfs');
    await using file = await createMappedFile(folder.file('a'), 2 * MIB);
    const bytes = Buffer.alloc(2 * MIB, 7);
    copyGuarded(addressOf(bytes), Number(file.region.address), bytes.length);
    await file.commit();
    expect((await fs.readFile(folder.file('a'))).equals(bytes)).toBe(true);
  });
});
