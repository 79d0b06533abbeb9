import { truncate, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { KIB, MIB } from '../../../../../src/core/units.ts';
import { digestBytes } from '../../../../../src/digest/digest-bytes.ts';
import { MemoryReader } from '../../../../../src/digest/memory-reader.ts';
import { ArrivalDigest } from '../../../../../src/engine/transport/tcp/arrival-digest.ts';
import { mapFile } from '../../../../../src/memory/map-file.ts';
import { allocateBytes, fillPattern } from '../../../../support/patterned-memory.ts';
import { makeTemporaryFolder } from '../../../../support/temporary-folder.ts';

describe('ArrivalDigest', () => {
  test.each(['direct', 'guarded'] as const)('is that of all runs together, in %s memory', async (access) => {
    await using memory = allocateBytes(3 * MIB + 5);
    fillPattern(memory.bytes, 1);
    const digest = new ArrivalDigest(new MemoryReader(), access);
    const ends = [1, 24, 700 * KIB, 700 * KIB, memory.bytes.length];
    let done = 0;
    for (const end of ends) {
      digest.add(Number(memory.address) + done, end - done);
      done = end;
    }
    expect(digest.end()).toEqual(digestBytes('xxh64', memory.bytes));
  });

  test('cannot be told where guarded memory is gone', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('weights');
    await writeFile(path, Buffer.alloc(MIB, 1));
    await using mapping = await mapFile(path);
    await truncate(path, 0);
    const digest = new ArrivalDigest(new MemoryReader(), 'guarded');
    digest.add(Number(mapping.address), 64 * KIB);
    digest.add(Number(mapping.address), 64 * KIB);
    expect(digest.end()).toBeUndefined();
  });
});
