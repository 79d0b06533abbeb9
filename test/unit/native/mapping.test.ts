import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { isCovered, readAddressSpace } from '../../../src/native/address-space.ts';
import { copyGuarded, isReadable } from '../../../src/native/copy.ts';
import { allocateBlocks, mapAnonymous, mapFileShared, unmap } from '../../../src/native/mapping.ts';
import { viewMemory } from '../../../src/native/view.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const GIB = 2 ** 30;
const TIB = 2 ** 40;

function isWritable(address: number): boolean {
  return isCovered(readAddressSpace() ?? [], address, 1, { writable: true });
}

describe('mapAnonymous', () => {
  test('maps zeroed memory that can be written', async () => {
    const address = mapAnonymous(5000);
    const view = viewMemory(address, 5000);
    expect(view.every((byte) => byte === 0)).toBe(true);
    view[4999] = 1;
    await unmap(address, 5000);
  });

  test('maps more than 4 GiB at once', async () => {
    const lengthBytes = 5 * GIB;
    const address = mapAnonymous(lengthBytes);
    viewMemory(address, 1)[0] = 1;
    viewMemory(address + lengthBytes - 1, 1)[0] = 2;
    expect(viewMemory(address, 1)[0]).toBe(1);
    await unmap(address, lengthBytes);
  });

  test('throws P2P_SYSTEM_CALL_FAILED with ENOMEM when there is no such room', () => {
    expect(() => mapAnonymous(1000 * TIB)).toThrow(
      expect.objectContaining({
        code: 'P2P_SYSTEM_CALL_FAILED',
        context: expect.objectContaining({ errnoName: 'ENOMEM' }),
      }),
    );
  });
});

describe('unmap', () => {
  test('gives the pages back', async () => {
    const address = mapAnonymous(4096);
    expect(isReadable(address, 4096)).toBe(true);
    await unmap(address, 4096);
    expect(isReadable(address, 4096)).toBe(false);
  });

  test('rejects with P2P_SYSTEM_CALL_FAILED for an address that starts no page', async () => {
    await expect(unmap(4097, 4096)).rejects.toMatchObject({
      code: 'P2P_SYSTEM_CALL_FAILED',
      context: { call: 'munmap', errnoName: 'EINVAL' },
    });
  });
});

describe('mapFileShared', () => {
  test('shows the file, and writes to it when mapped for writing', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'hello');
    await using file = await fs.open(folder.file('a'), 'r+');
    const address = mapFileShared(file.fd, 5, 'read-write');
    const bytes = Buffer.from('J');
    copyGuarded(addressOf(bytes), address, 1);
    expect(await fs.readFile(folder.file('a'), 'utf8')).toBe('Jello');
    await unmap(address, 5);
  });

  test('maps without the right to write when asked to read', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'hello');
    await using file = await fs.open(folder.file('a'), 'r+');
    const address = mapFileShared(file.fd, 5, 'read');
    expect(isWritable(address)).toBe(false);
    await unmap(address, 5);
  });

  test('throws P2P_SYSTEM_CALL_FAILED when the descriptor lacks the right', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), 'hello');
    await using file = await fs.open(folder.file('a'), 'r');
    expect(() => mapFileShared(file.fd, 5, 'read-write')).toThrow(
      expect.objectContaining({ context: expect.objectContaining({ errnoName: 'EACCES' }) }),
    );
  });
});

describe('allocateBlocks', () => {
  test('extends the file and reserves its blocks', async () => {
    await using folder = await makeTemporaryFolder();
    await using file = await fs.open(folder.file('a'), 'w+');
    await allocateBlocks(file.fd, 1_000_000);
    const { size, blocks } = await file.stat();
    expect(size).toBe(1_000_000);
    expect(blocks * 512).toBeGreaterThanOrEqual(1_000_000);
  });

  test('rejects with the errno of the thread that ran the call', async () => {
    await expect(allocateBlocks(-1, 1)).rejects.toMatchObject({ context: { errnoName: 'EBADF' } });
  });

  test('stops between steps when the signal fires', async () => {
    await using folder = await makeTemporaryFolder('/dev/shm');
    await using file = await fs.open(folder.file('a'), 'w+');
    const abort = new AbortController();
    const allocated = allocateBlocks(file.fd, 2 * GIB, abort.signal);
    abort.abort(new Error('enough'));
    await expect(allocated).rejects.toThrow('enough');
    expect((await file.stat()).size).toBeLessThanOrEqual(GIB / 2);
  });
});
