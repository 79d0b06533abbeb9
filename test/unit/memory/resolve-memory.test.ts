import fs from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mapFile } from '../../../src/memory/map-file.ts';
import { allocate } from '../../../src/memory/memory-region.ts';
import { type MemoryInput, resolveMemory } from '../../../src/memory/resolve-memory.ts';
import { addressOf } from '../../../src/native/address.ts';
import { mapAnonymous, unmap } from '../../../src/native/mapping.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const READ = { writable: false };
const WRITE = { writable: true };
const PAGE = 4096;

function codeOf(addrList: unknown, sizeList: unknown, rights = READ): unknown {
  try {
    resolveMemory(addrList as MemoryInput[], sizeList as number[], rights);
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
}

describe('resolveMemory', () => {
  test('finds views, buffers and regions without copying', async () => {
    await using region = allocate(1000);
    const view = new Uint8Array(new ArrayBuffer(100), 10, 20);
    const floats = new Float32Array(8);
    const plain = new ArrayBuffer(8);
    const shared = new SharedArrayBuffer(8);
    const inputs = [view, floats, plain, shared, region];
    const resolved = resolveMemory(inputs, [20, 32, 8, 5, 999], WRITE);
    expect(resolved.ranges).toEqual([
      { address: addressOf(view), lengthBytes: 20, access: 'direct' },
      { address: addressOf(floats), lengthBytes: 32, access: 'direct' },
      { address: addressOf(plain), lengthBytes: 8, access: 'direct' },
      { address: addressOf(shared), lengthBytes: 5, access: 'direct' },
      { address: Number(region.address), lengthBytes: 999, access: 'direct' },
    ]);
    expect(resolved.owners).toEqual(inputs);
    expect(resolved.totalBytes).toBe(1064);
  });

  test('takes an address inside one of our regions as direct, any other as guarded', async () => {
    await using region = allocate(2 * PAGE);
    const foreign = mapAnonymous(PAGE);
    const { ranges, owners } = resolveMemory([region.address + 5n, BigInt(foreign)], [PAGE, PAGE], WRITE);
    expect(ranges.map((range) => range.access)).toEqual(['direct', 'guarded']);
    expect(owners).toEqual([]);
    await unmap(foreign, PAGE);
  });

  test('takes a file mapping as guarded, by region and by address', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), Buffer.alloc(2 * PAGE));
    await using region = await mapFile(folder.file('a'));
    expect(resolveMemory([region], [2 * PAGE], READ).ranges[0]?.access).toBe('guarded');
    expect(resolveMemory([region.address], [2 * PAGE], READ).ranges[0]?.access).toBe('guarded');
    expect(codeOf([region], [1], WRITE)).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([region.address], [1], WRITE)).toBe('P2P_INVALID_ARGUMENT');
  });

  test('refuses an address behind the end of a truncated file', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), Buffer.alloc(2 * PAGE));
    await using region = await mapFile(folder.file('a'));
    await fs.truncate(folder.file('a'), PAGE);
    expect(codeOf([region.address], [2 * PAGE])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([region.address], [PAGE])).toBeUndefined();
  });

  test('refuses addresses that are not mapped, in any part', async () => {
    const address = BigInt(mapAnonymous(3 * PAGE));
    await unmap(Number(address) + PAGE, PAGE);
    expect(codeOf([address], [PAGE])).toBeUndefined();
    expect(codeOf([address], [3 * PAGE])).toBe('P2P_INVALID_ARGUMENT'); // both ends are there, the middle is not
    expect(codeOf([address], [PAGE + 1])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([address + BigInt(PAGE)], [1])).toBe('P2P_INVALID_ARGUMENT');
    await unmap(Number(address), PAGE);
    await unmap(Number(address) + 2 * PAGE, PAGE);
  });

  test.each([0n, 1n, -1n, 2n ** 47n, 2n ** 52n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 200n])(
    'refuses the address %s',
    (address) => {
      expect(codeOf([address], [1])).toBe('P2P_INVALID_ARGUMENT');
    },
  );

  test('refuses a range that wraps round the address space', () => {
    expect(codeOf([2n ** 52n - 1n], [2])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([4096n], [Number.MAX_SAFE_INTEGER])).toBe('P2P_INVALID_ARGUMENT');
  });

  test('refuses lists of different length, and what are no lists', () => {
    expect(codeOf([new Uint8Array(1)], [])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([], [1])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf(new Uint8Array(1), [1])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([], 0)).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf(undefined, undefined)).toBe('P2P_INVALID_ARGUMENT');
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 1n, '1', null, undefined])(
    'refuses the size %s',
    (size) => {
      expect(codeOf([new Uint8Array(1)], [size])).toBe('P2P_INVALID_ARGUMENT');
    },
  );

  test('refuses sizes that add up to more than 2^53', () => {
    const sizes = [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];
    expect(codeOf([4096n, 8192n], sizes)).toBe('P2P_INVALID_ARGUMENT');
  });

  test.each([undefined, null, 5, 'abc', {}, []])('refuses %s as memory', (input) => {
    expect(codeOf([input], [0])).toBe('P2P_INVALID_ARGUMENT');
  });

  test('refuses a size beyond the view or region', async () => {
    await using region = allocate(10);
    for (const input of [Buffer.alloc(10), new ArrayBuffer(10), new SharedArrayBuffer(10), region]) {
      expect(codeOf([input], [11])).toBe('P2P_INVALID_ARGUMENT');
      expect(codeOf([input], [10])).toBeUndefined();
    }
  });

  test('refuses resizable buffers', () => {
    const options = { maxByteLength: 100 } as unknown as undefined; // unknown to the library of ES2023
    const resizable: ArrayBuffer = Reflect.construct(ArrayBuffer, [10, options]);
    expect(codeOf([resizable], [10])).toBe('P2P_INVALID_ARGUMENT');
    expect(codeOf([new Uint8Array(resizable)], [10])).toBe('P2P_INVALID_ARGUMENT');
  });

  test('refuses a closed region with P2P_CLOSED', async () => {
    const region = allocate(10);
    await region.close();
    expect(codeOf([region], [10])).toBe('P2P_CLOSED');
  });

  test('refuses ranges that overlap with P2P_ADDRESS_OVERLAPPED', () => {
    const bytes = new Uint8Array(100);
    expect(codeOf([bytes.subarray(50), bytes], [50, 51])).toBe('P2P_ADDRESS_OVERLAPPED');
    expect(codeOf([bytes, bytes], [100, 100])).toBe('P2P_ADDRESS_OVERLAPPED');
    expect(codeOf([bytes.subarray(50), bytes], [50, 50])).toBeUndefined();
    expect(codeOf([bytes, bytes], [100, 0])).toBeUndefined();
    expect(codeOf([bytes, bytes.subarray(50)], [100, 0])).toBeUndefined();
  });

  test('finds an overlap exactly when two ranges share a byte', () => {
    const bytes = new Uint8Array(64);
    const cut = fc.tuple(fc.nat(63), fc.nat(12)).map(([at, length]) => [at, Math.min(length, 64 - at)] as const);
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 6 }), (cuts) => {
        const uses = new Uint8Array(64);
        for (const [at, length] of cuts)
          for (let index = at; index < at + length; index += 1) uses[index] = (uses[index] ?? 0) + 1;
        const code = codeOf(
          cuts.map(([at]) => bytes.subarray(at)),
          cuts.map(([, length]) => length),
        );
        expect(code).toBe(uses.some((count) => count > 1) ? 'P2P_ADDRESS_OVERLAPPED' : undefined);
      }),
    );
  });

  test('takes no bytes at all, in every form', async () => {
    await using region = allocate(0);
    expect(resolveMemory([], [], WRITE)).toEqual({ ranges: [], owners: [], totalBytes: 0 });
    const { ranges, totalBytes } = resolveMemory(
      [region, 0n, new ArrayBuffer(0), Buffer.alloc(5)],
      [0, 0, 0, 0],
      WRITE,
    );
    expect(ranges.map((range) => range.lengthBytes)).toEqual([0, 0, 0, 0]);
    expect(totalBytes).toBe(0);
  });
});
