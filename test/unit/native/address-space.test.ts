import { describe, expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { isCovered, type MappedPages, readAddressSpace } from '../../../src/native/address-space.ts';
import { mapAnonymous, unmap } from '../../../src/native/mapping.ts';

function pages(start: number, end: number, rights: string): MappedPages {
  return { start, end, isReadable: rights.includes('r'), isWritable: rights.includes('w') };
}

describe('readAddressSpace', () => {
  test('lists the heap, and a mapping until it is unmapped', async () => {
    const heap = new Uint8Array(100_000);
    const address = mapAnonymous(8192);
    const mapped = readAddressSpace() ?? [];
    expect(isCovered(mapped, addressOf(heap), heap.length, { writable: true })).toBe(true);
    expect(isCovered(mapped, address, 8192, { writable: true })).toBe(true);
    await unmap(address, 8192);
    expect(isCovered(readAddressSpace() ?? [], address, 8192, { writable: false })).toBe(false);
  });

  test('is in ascending order', () => {
    const starts = (readAddressSpace() ?? []).map((entry) => entry.start);
    expect(starts.length).toBeGreaterThan(10);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
  });
});

describe('isCovered', () => {
  const space = [pages(10, 20, 'rw'), pages(20, 30, 'r'), pages(40, 50, 'rw'), pages(50, 60, '')];

  test.each([
    [10, 10, true, true],
    [19, 1, true, true],
    [15, 10, false, true], // spans two
    [15, 10, true, false], // the second cannot be written
    [25, 10, false, false], // runs into a gap
    [30, 5, false, false], // begins in a gap
    [5, 10, false, false], // begins before
    [45, 10, false, false], // the second cannot be read
    [60, 1, false, false], // behind all
  ])('%i + %i, writable %s: %s', (address, lengthBytes, writable, expected) => {
    expect(isCovered(space, address, lengthBytes, { writable })).toBe(expected);
  });
});
