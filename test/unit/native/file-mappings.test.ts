import fs from 'node:fs';
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { mapFile } from '../../../src/memory/map-file.ts';
import { readFileInto, readFileMappings } from '../../../src/native/file-mappings.ts';
import { allocateBytes, firstOtherThan } from '../../support/patterned-memory.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const SIZE_BYTES = 200_000;

describe('readFileMappings', () => {
  test('tells where which file is mapped', async () => {
    await using folder = await makeTemporaryFolder();
    const file = folder.file('a file\nof two lines');
    fs.writeFileSync(file, Buffer.alloc(SIZE_BYTES, 5));
    await using region = await mapFile(file);
    const { dev, ino } = fs.statSync(file, { bigint: true });
    const start = Number(region.address);
    const end = start + Math.ceil(SIZE_BYTES / 4096) * 4096;
    const found = readFileMappings(process.pid).filter((mapping) => mapping.start === start);
    expect(found).toEqual([{ start, end, offset: 0, device: dev, inode: ino, path: file }]);
  });

  test('fails for a process that is gone', () => {
    expect(() => readFileMappings(2 ** 30)).toThrow(/ENOENT/);
  });
});

describe('readFileInto', () => {
  test.each([1000, 150_000])(
    'reads %i bytes, fewer at the end of the file, and says when memory is gone',
    async (lengthBytes) => {
      await using folder = await makeTemporaryFolder();
      await using target = allocateBytes(lengthBytes);
      const file = folder.file('file');
      fs.writeFileSync(file, Buffer.alloc(SIZE_BYTES, 5));
      const fd = fs.openSync(file, 'r');
      const address = Number(target.address);
      expect(await readFileInto(fd, 50_000, address, lengthBytes)).toBe(lengthBytes);
      expect(firstOtherThan(target.bytes, 5)).toBe(-1);
      expect(await readFileInto(fd, SIZE_BYTES - 7, address, lengthBytes)).toBe(7);
      expect(await readFileInto(fd, 0, 4096, lengthBytes)).toBe(-constants.errno.EFAULT);
      fs.closeSync(fd);
    },
  );
});
