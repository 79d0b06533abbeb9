import { describe, expect, test } from 'vitest';
import { allocate } from '../../../src/memory/memory-region.ts';
import { MemoryWindows } from '../../../src/memory/memory-windows.ts';
import { addressOf } from '../../../src/native/address.ts';

const GIB = 2 ** 30;

describe('MemoryWindows', () => {
  test('views the bytes at an address', () => {
    const bytes = Buffer.from(new ArrayBuffer(100));
    bytes.set([1, 2, 3], 50);
    expect([...new MemoryWindows().view(addressOf(bytes) + 50, 3)]).toEqual([1, 2, 3]);
  });

  test('cuts a range at the end of a window, and goes on behind it', () => {
    const windows = new MemoryWindows();
    const start = 1024 * GIB + 12_345; // nothing need be mapped where nothing is touched
    const lengthBytes = 9 * GIB;
    const lengths: number[] = [];
    for (let offset = 0; offset < lengthBytes; ) {
      const view = windows.view(start + offset, lengthBytes - offset);
      expect(addressOf(view)).toBe(start + offset);
      lengths.push(view.length);
      offset += view.length;
    }
    expect(lengths).toHaveLength(3);
    expect(lengths.reduce((sum, length) => sum + length)).toBe(lengthBytes);
  });

  test('keeps a window for the next view', async () => {
    await using region = allocate(4096);
    const windows = new MemoryWindows();
    expect(windows.view(Number(region.address), 1).buffer).toBe(windows.view(Number(region.address) + 9, 1).buffer);
  });

  test('stays right when more windows were used than it keeps', async () => {
    await using region = allocate(4096);
    region.view()[7] = 77;
    const windows = new MemoryWindows(3);
    for (let index = 0; index < 8; index += 1) windows.view(index * 4 * GIB + 4096, 1);
    expect(windows.view(Number(region.address) + 7, 1)[0]).toBe(77);
  });
});
