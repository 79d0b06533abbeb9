import { expect } from 'vitest';
import { allocate, type MemoryRegion } from '../../src/memory/memory-region.ts';

/** Memory outside the heap with a view of all of it. The view must not outlive the region. */
export interface TestMemory extends AsyncDisposable {
  readonly region: MemoryRegion;
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export function allocateBytes(sizeBytes: number, fill = 0): TestMemory {
  const region = allocate(sizeBytes);
  const bytes = region.view();
  bytes.fill(fill);
  return { region, address: region.address, bytes, [Symbol.asyncDispose]: () => region.close() };
}

/** Fills with bytes that differ from place to place and from seed to seed. The start must be aligned to 4. */
export function fillPattern(bytes: Uint8Array, seed: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index + 1, 2_654_435_761) ^ seed;
  for (let index = words.length * 4; index < bytes.length; index++) bytes[index] = index ^ seed;
}

/** The same as source text, for a child process. */
export const FILL_PATTERN_SOURCE = `
const fillPattern = (bytes, seed) => {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index + 1, 2654435761) ^ seed;
  for (let index = words.length * 4; index < bytes.length; index++) bytes[index] = index ^ seed;
};
`;

/** Index of the first byte that differs, -1 when there is none. */
export function firstDifference(left: Uint8Array, right: Uint8Array): number {
  if (Buffer.compare(left, right) === 0) return -1;
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index++) if (left[index] !== right[index]) return index;
  return length;
}

export function expectSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect({ length: actual.length, firstDifference: firstDifference(actual, expected) }).toEqual({
    length: expected.length,
    firstDifference: -1,
  });
}

/** Index of the first byte that is not `value`, -1 when all are. */
export function firstOtherThan(bytes: Uint8Array, value: number): number {
  return firstDifference(bytes, Buffer.alloc(bytes.length, value));
}
