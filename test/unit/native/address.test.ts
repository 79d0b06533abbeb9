import { describe, expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { copyGuarded } from '../../../src/native/copy.ts';

/** What the kernel finds at the address. */
function bytesAt(address: number, lengthBytes: number): number[] {
  const target = new Uint8Array(lengthBytes);
  copyGuarded(address, addressOf(target), lengthBytes);
  return [...target];
}

describe('addressOf', () => {
  test('leads to the bytes of a view with an offset', () => {
    const buffer = Buffer.from(new ArrayBuffer(100), 10, 20);
    buffer.set([1, 2, 3]);
    expect(bytesAt(addressOf(buffer), 3)).toEqual([1, 2, 3]);
    expect(addressOf(buffer) - addressOf(buffer.buffer)).toBe(10);
  });

  test('leads to the bytes of a SharedArrayBuffer, and of a view into one', () => {
    const shared = new SharedArrayBuffer(16);
    new Uint8Array(shared).set([9, 8, 7, 6]);
    expect(bytesAt(addressOf(shared), 4)).toEqual([9, 8, 7, 6]);
    expect(bytesAt(addressOf(new DataView(shared, 2)), 2)).toEqual([7, 6]);
  });

  test('counts bytes, not elements', () => {
    const floats = new Float64Array(new ArrayBuffer(80), 16);
    expect(addressOf(floats) - addressOf(floats.buffer)).toBe(16);
  });

  test('leads to a pooled Buffer', () => {
    expect(bytesAt(addressOf(Buffer.from('pooled')), 6)).toEqual([...Buffer.from('pooled')]);
  });

  test('answers for arrays without bytes', () => {
    for (const empty of [
      new ArrayBuffer(0),
      new SharedArrayBuffer(0),
      Buffer.alloc(0),
      new Uint8Array(8).subarray(8),
    ]) {
      expect(Number.isSafeInteger(addressOf(empty))).toBe(true);
    }
  });
});
