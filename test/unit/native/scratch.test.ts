import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readAddressSpace } from '../../../src/native/address-space.ts';
import { Scratch } from '../../../src/native/scratch.ts';

test('Scratch is zeroed memory whose view, bytes and address are the same', () => {
  const scratch = new Scratch(64);
  expect(scratch.bytes).toEqual(new Uint8Array(64));
  scratch.setUint64(8, 0x1234_5678_9abc);
  expect(scratch.view.getBigUint64(8, true)).toBe(0x1234_5678_9abcn);
  expect(scratch.getUint64(8)).toBe(0x1234_5678_9abc);
  expect(readAddressSpace()?.some(({ start, end }) => start <= scratch.address && scratch.address < end)).toBe(true);
  scratch.free();
});

test('setUint64() stores every whole number below 2^53 and touches nothing beside it', () => {
  const scratch = new Scratch(24);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      scratch.bytes.fill(0xff);
      scratch.setUint64(8, value);
      expect(scratch.view.getBigUint64(8, true)).toBe(BigInt(value));
      expect(scratch.view.getBigUint64(0, true)).toBe(2n ** 64n - 1n);
      expect(scratch.view.getBigUint64(16, true)).toBe(2n ** 64n - 1n);
    }),
  );
  scratch.free();
});
