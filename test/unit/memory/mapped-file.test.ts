import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { createMappedFile, type MappedFile } from '../../../src/memory/mapped-file.ts';
import { countOpenRegions } from '../../../src/memory/memory-region.ts';
import { addressOf } from '../../../src/native/address.ts';
import { copyGuarded } from '../../../src/native/copy.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

function receive(file: MappedFile, bytes: Uint8Array): void {
  copyGuarded(addressOf(bytes), Number(file.region.address), bytes.length);
}

describe.each(['/tmp', '/dev/shm'])('createMappedFile in %s', (parent) => {
  test('commit() puts the bytes at the path, in place of what was there', async () => {
    await using folder = await makeTemporaryFolder(parent);
    const path = folder.file('a.bin');
    await fs.writeFile(path, 'old and longer than nothing');
    const bytes = randomBytes(100_000);
    await using file = await createMappedFile(path, bytes.length);
    expect(file.region).toMatchObject({ sizeBytes: bytes.length, kind: 'file', isWritable: true, path });
    receive(file, bytes);
    expect(await fs.readFile(path, 'utf8')).toBe('old and longer than nothing');
    await file.commit();
    expect(await fs.readdir(folder.path)).toEqual(['a.bin']);
    expect((await fs.readFile(path)).equals(bytes)).toBe(true);
    await file.commit();
    await file.close();
    expect((await fs.readFile(path)).equals(bytes)).toBe(true);
    expect(countOpenRegions()).toBe(0);
  });

  test('the mapping stays usable between commit() and close()', async () => {
    await using folder = await makeTemporaryFolder(parent);
    await using file = await createMappedFile(folder.file('a'), 4);
    receive(file, Buffer.from('abcd'));
    await file.commit();
    const bytes = Buffer.alloc(4);
    copyGuarded(Number(file.region.address), addressOf(bytes), 4);
    expect(bytes.toString()).toBe('abcd');
  });

  test('close() without commit() leaves nothing, and what was at the path', async () => {
    await using folder = await makeTemporaryFolder(parent);
    await fs.writeFile(folder.file('a'), 'old');
    const file = await createMappedFile(folder.file('a'), 1000);
    expect(await fs.readdir(folder.path)).toHaveLength(2);
    const closed = file.close();
    expect(file.close()).toBe(closed);
    await closed;
    expect(await fs.readdir(folder.path)).toEqual(['a']);
    expect(await fs.readFile(folder.file('a'), 'utf8')).toBe('old');
    expect(countOpenRegions()).toBe(0);
    await expect(file.commit()).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
  });

  test('reserves the blocks before a byte arrives', async () => {
    await using folder = await makeTemporaryFolder(parent);
    await using file = await createMappedFile(folder.file('a'), 1_000_000);
    expect((await fs.stat(file.temporaryPath)).blocks * 512).toBeGreaterThanOrEqual(1_000_000);
  });

  test('makes an empty file', async () => {
    await using folder = await makeTemporaryFolder(parent);
    await using file = await createMappedFile(folder.file('a'), 0);
    await file.commit();
    expect((await fs.stat(folder.file('a'))).size).toBe(0);
  });
});

describe('createMappedFile', () => {
  test('two at once for one path do not meet; the last commit stays', async () => {
    await using folder = await makeTemporaryFolder();
    await using first = await createMappedFile(folder.file('a'), 1);
    await using second = await createMappedFile(folder.file('a'), 1);
    receive(first, Buffer.from('1'));
    receive(second, Buffer.from('2'));
    await second.commit();
    await first.commit();
    expect(await fs.readFile(folder.file('a'), 'utf8')).toBe('1');
  });

  test('takes the longest of file names', async () => {
    await using folder = await makeTemporaryFolder();
    const name = '\u{1f4be}'.repeat(63);
    await using file = await createMappedFile(folder.file(name), 1);
    await file.commit();
    expect(await fs.readdir(folder.path)).toEqual([name]);
  });

  test('rejects with P2P_FILE_FAILED when the path cannot become a file', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.mkdir(folder.file('folder'));
    await fs.writeFile(folder.file('file'), '');
    for (const path of [folder.file('folder'), folder.file('missing/a'), folder.file('file/a')]) {
      await expect(createMappedFile(path, 1)).rejects.toMatchObject({ code: 'P2P_FILE_FAILED', context: { path } });
    }
    expect((await fs.readdir(folder.path)).sort()).toEqual(['file', 'folder']);
  });

  test('a failed commit() may be repeated', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('a');
    await using file = await createMappedFile(path, 1);
    await fs.mkdir(path);
    await expect(file.commit()).rejects.toMatchObject({ code: 'P2P_FILE_FAILED', context: { operation: 'commit' } });
    await fs.rmdir(path);
    await file.commit();
    expect(await fs.readdir(folder.path)).toEqual(['a']);
  });

  test('rejects with the reason of an abort, and leaves nothing', async () => {
    await using folder = await makeTemporaryFolder('/dev/shm');
    const abort = new AbortController();
    const created = createMappedFile(folder.file('a'), 2 ** 31, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(created).rejects.toThrow('enough');
    expect(await fs.readdir(folder.path)).toEqual([]);
    expect(countOpenRegions()).toBe(0);
  });
});
