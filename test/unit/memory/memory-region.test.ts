import { describe, expect, test } from 'vitest';
import { allocate, countOpenRegions, listOpenRegions } from '../../../src/memory/memory-region.ts';
import { isReadable } from '../../../src/native/copy.ts';

const GIB = 2 ** 30;

describe('allocate', () => {
  test('gives zeroed, writable memory at a fixed address', async () => {
    await using region = allocate(10_000);
    expect(region).toMatchObject({ sizeBytes: 10_000, kind: 'anonymous', isWritable: true, isClosed: false });
    expect(region.path).toBeUndefined();
    const view = region.view();
    expect(view).toHaveLength(10_000);
    expect(view.every((byte) => byte === 0)).toBe(true);
    view[9_999] = 5;
    expect(region.view(9_999)[0]).toBe(5);
  });

  test('gives more than 4 GiB at once', async () => {
    await using region = allocate(5 * GIB);
    region.view(5 * GIB - 1)[0] = 9;
    expect(region.view(4 * GIB, GIB)[GIB - 1]).toBe(9);
  });

  test('maps nothing for no bytes', async () => {
    await using region = allocate(0);
    expect(region.address).toBe(0n);
    expect(region.view()).toHaveLength(0);
  });

  test.each([-1, 1.5, Number.NaN, 2 ** 53])('throws P2P_INVALID_ARGUMENT for %d bytes', (sizeBytes) => {
    expect(() => allocate(sizeBytes)).toThrow(
      expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT', context: { argument: 'sizeBytes' } }),
    );
    expect(countOpenRegions()).toBe(0);
  });

  test('throws P2P_SYSTEM_CALL_FAILED when there is not so much memory, and leaves nothing open', () => {
    expect(() => allocate(2 ** 50)).toThrow(expect.objectContaining({ code: 'P2P_SYSTEM_CALL_FAILED' }));
    expect(countOpenRegions()).toBe(0);
  });
});

describe('MemoryRegion', () => {
  test.each([
    [-1, 1],
    [0.5, 1],
    [101, 0],
    [0, 101],
    [50, 51],
    [0, -1],
  ])('view(%d, %d) of 100 bytes throws P2P_INVALID_ARGUMENT', async (offsetBytes, lengthBytes) => {
    await using region = allocate(100);
    expect(() => region.view(offsetBytes, lengthBytes)).toThrow(
      expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT' }),
    );
  });

  test('view() throws P2P_INVALID_ARGUMENT when the region is longer than a view can be', async () => {
    await using region = allocate(5 * GIB);
    expect(() => region.view()).toThrow(expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT' }));
  });

  test('view() at the very end is empty', async () => {
    await using region = allocate(100);
    expect(region.view(100)).toHaveLength(0);
  });

  test('close() gives the memory back, once', async () => {
    const region = allocate(4096);
    const address = Number(region.address);
    expect(countOpenRegions()).toBe(1);
    expect([...listOpenRegions()]).toEqual([region]);
    const closed = region.close();
    expect(region.close()).toBe(closed);
    expect(region.isClosed).toBe(true);
    await closed;
    expect(isReadable(address, 4096)).toBe(false);
    expect(countOpenRegions()).toBe(0);
    expect(() => region.view()).toThrow(expect.objectContaining({ code: 'P2P_CLOSED' }));
  });
});
