import { truncate, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { MIB } from '../../../src/core/units.ts';
import { MemoryReader } from '../../../src/digest/memory-reader.ts';
import { mapFile } from '../../../src/memory/map-file.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../../support/patterned-memory.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

describe('MemoryReader', () => {
  test('shows direct memory where it lies, guarded memory as copies of its first bytes', async () => {
    await using memory = allocateBytes(2 * MIB);
    fillPattern(memory.bytes, 3);
    const range = { address: Number(memory.address), lengthBytes: memory.bytes.length };
    const reader = new MemoryReader();
    const direct = reader.read({ ...range, access: 'direct' });
    expectSameBytes(direct, memory.bytes);
    const copied = reader.read({ ...range, access: 'guarded' });
    expect(copied.length).toBeLessThan(range.lengthBytes);
    expectSameBytes(copied, memory.bytes.subarray(0, copied.length));
    memory.bytes[0] = (memory.bytes[0] ?? 0) ^ 1;
    expect(direct[0]).toBe(memory.bytes[0]);
    expect(copied[0]).not.toBe(memory.bytes[0]);
  });

  test('throws P2P_MEMORY_FAULT where guarded memory is gone', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('weights');
    await writeFile(path, Buffer.alloc(MIB, 1));
    await using mapping = await mapFile(path);
    await truncate(path, 0);
    const range = { address: Number(mapping.address), lengthBytes: 4096, access: 'guarded' as const };
    expect(() => new MemoryReader().read(range)).toThrow(expect.objectContaining({ code: ErrorCode.MemoryFault }));
  });
});
