import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bitmap } from '../../../src/swarm/bitmap.ts';

const size = 100;
const indices = fc.uniqueArray(fc.integer({ min: 0, max: size - 1 }));

function bitmapOf(values: readonly number[]): Bitmap {
  const bitmap = new Bitmap(size);
  for (const value of values) bitmap.add(value);
  return bitmap;
}

function applyBoth(bitmap: Bitmap, model: Set<number>, [isAdd, index]: readonly [boolean, number]): void {
  const had = model.has(index);
  expect(isAdd ? bitmap.add(index) : bitmap.delete(index)).toBe(had !== isAdd);
  if (isAdd) model.add(index);
  else model.delete(index);
  expect(bitmap.count).toBe(model.size);
}

describe('Bitmap', () => {
  test('behaves as a set of numbers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: size - 1 }))), (steps) => {
        const bitmap = new Bitmap(size);
        const model = new Set<number>();
        for (const step of steps) applyBoth(bitmap, model, step);
        expect([...bitmap]).toEqual([...model].sort((a, b) => a - b));
      }),
    );
  });

  test('decodes what it encodes', () => {
    fc.assert(
      fc.property(indices, (values) => {
        const decoded = Bitmap.decode(size, bitmapOf(values).encode());
        expect([...(decoded ?? [])]).toEqual([...values].sort((a, b) => a - b));
      }),
    );
  });

  test('encodes piece i as bit i % 8 of byte i / 8', () => {
    expect([...bitmapOf([0, 9, 31, 32]).encode()].slice(0, 6)).toEqual([1, 2, 0, 128, 1, 0]);
  });

  test('refuses encodings of another length or with bits past its size', () => {
    expect(Bitmap.decode(10, new Uint8Array(3))).toBeUndefined();
    expect(Bitmap.decode(10, Uint8Array.of(0, 0b100))).toBeUndefined();
    expect(Bitmap.decode(10, Uint8Array.of(0, 0b010))?.has(9)).toBe(true);
  });

  test('refuses an index outside its size', () => {
    expect(() => new Bitmap(10).add(10)).toThrow('outside the object');
    expect(() => new Bitmap(10).add(-1)).toThrow('outside the object');
  });

  test.each([0, 1, 31, 32, 33, 64, 100])('full(%d) holds every index and no more', (length) => {
    const bitmap = Bitmap.full(length);
    expect([...bitmap]).toEqual(Array.from({ length }, (_, index) => index));
    expect(bitmap.isFull).toBe(true);
    expect(Bitmap.decode(length, bitmap.encode())?.isFull).toBe(true);
  });

  test('ranges() joins neighbours', () => {
    expect([...bitmapOf([0, 1, 31, 32, 33, 99]).ranges()]).toEqual([
      { start: 0, end: 2 },
      { start: 31, end: 34 },
      { start: 99, end: 100 },
    ]);
  });

  test('clone() is independent', () => {
    const original = bitmapOf([3]);
    const copy = original.clone();
    copy.add(4);
    expect([original.count, copy.count, original.has(4)]).toEqual([1, 2, false]);
  });
});
