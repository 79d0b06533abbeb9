import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type RegisteredRange, RegisteredRanges } from '../../../src/engine/registered-ranges.ts';

function range(address: number, lengthBytes: number): RegisteredRange {
  return { address, lengthBytes, isReadable: true, isWritable: false };
}

/** The same by looking at every byte. */
class NaiveRanges {
  readonly ranges: RegisteredRange[] = [];

  #has = (entry: RegisteredRange, byte: number): boolean =>
    byte >= entry.address && byte < entry.address + entry.lengthBytes;

  overlapping(address: number, lengthBytes: number): RegisteredRange[] {
    const bytes = Array.from({ length: lengthBytes }, (_, index) => address + index);
    return this.ranges.filter((entry) => bytes.some((byte) => this.#has(entry, byte)));
  }

  containing(address: number, lengthBytes: number): RegisteredRange | undefined {
    const bytes = Array.from({ length: lengthBytes }, (_, index) => address + index);
    return bytes.length === 0 ? undefined : this.ranges.find((entry) => bytes.every((byte) => this.#has(entry, byte)));
  }
}

function expectSameAnswers(ranges: RegisteredRanges, model: NaiveRanges, address: number, lengthBytes: number): void {
  const overlaps = model.overlapping(address, lengthBytes);
  const found = ranges.overlapping(address, lengthBytes);
  expect(found === undefined ? overlaps.length === 0 : overlaps.includes(found)).toBe(true);
  expect(ranges.containing(address, lengthBytes)).toBe(model.containing(address, lengthBytes));
  expect(ranges.startingAt(address)).toBe(model.ranges.find((entry) => entry.address === address));
  const sorted = [...model.ranges].sort((left, right) => left.address - right.address);
  expect([...ranges]).toEqual(sorted);
  expect(ranges.size).toBe(sorted.length);
}

interface Step {
  readonly kind: 'add' | 'remove' | 'ask';
  readonly address: number;
  readonly lengthBytes: number;
}

function apply({ kind, address, lengthBytes }: Step, ranges: RegisteredRanges, model: NaiveRanges): void {
  if (kind === 'add' && model.overlapping(address, lengthBytes).length === 0) {
    const entry = range(address, lengthBytes);
    ranges.add(entry);
    model.ranges.push(entry);
  }
  if (kind === 'remove') {
    ranges.remove(address);
    const index = model.ranges.findIndex((entry) => entry.address === address);
    if (index >= 0) model.ranges.splice(index, 1);
  }
}

describe('RegisteredRanges', () => {
  test('agrees with a model that looks at every byte', () => {
    const command = fc.record({
      kind: fc.constantFrom('add' as const, 'add' as const, 'remove' as const, 'ask' as const),
      address: fc.integer({ min: 1, max: 60 }),
      lengthBytes: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const ranges = new RegisteredRanges();
        const model = new NaiveRanges();
        for (const step of commands) {
          expectSameAnswers(ranges, model, step.address, step.lengthBytes);
          apply(step, ranges, model);
          expectSameAnswers(ranges, model, step.address, step.lengthBytes);
        }
      }),
    );
  });

  test('containing() does not join two adjacent ranges', () => {
    const ranges = new RegisteredRanges();
    ranges.add(range(4096, 4096));
    ranges.add(range(8192, 4096));
    expect(ranges.containing(8191, 1)?.address).toBe(4096);
    expect(ranges.containing(8192, 1)?.address).toBe(8192);
    expect(ranges.containing(8191, 2)).toBeUndefined();
    expect(ranges.containing(4096, 8192)).toBeUndefined();
  });

  test.each([
    ['no bytes', 4096, 0],
    ['a negative length', 4096, -1],
    ['the longest length of the wire', 4096, 2 ** 64],
    ['a length that wraps to the start', 4096, 2 ** 64 - 4096],
    ['the highest address of the wire', 2 ** 64, 1],
    ['an address that loses its low bits', 2 ** 53 + 4096, 1],
    ['an address and a length that wrap', 2 ** 64 - 4096, 8192],
  ])('containing() refuses %s', (_name, address, lengthBytes) => {
    const ranges = new RegisteredRanges();
    ranges.add(range(4096, 2 ** 47));
    expect(ranges.containing(address, lengthBytes)).toBeUndefined();
  });
});
