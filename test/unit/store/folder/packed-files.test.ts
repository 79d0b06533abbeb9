import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { allocate, type MemoryRegion } from '../../../../src/memory/memory-region.ts';
import { PackedFiles } from '../../../../src/store/folder/packed-files.ts';
import { SharedObject } from '../../../../src/swarm/shared-object.ts';
import { eventually } from '../../../support/eventually.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../../support/temporary-folder.ts';

const PIECE = 4096;
const FIRST_BYTE = 100;
/** The first ends within piece 0, the second lies in pieces 0 to 2, the last two in piece 2. */
const SIZES = [3000, 2 * PIECE, 0, 500];
const TOTAL = SIZES.reduce((total, size) => total + size, 0);

describe('PackedFiles', () => {
  let folder: TemporaryFolder;
  let region: MemoryRegion;
  let shared: SharedObject;
  const files = (): { path: string; sizeBytes: number }[] =>
    SIZES.map((sizeBytes, index) => ({ path: folder.file(`f${index}`), sizeBytes }));
  const list = async (): Promise<string[]> => (await fs.readdir(folder.path)).sort();

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    region = allocate(TOTAL);
    region.view().forEach((_byte, index, all) => {
      all[index] = index % 251;
    });
    const layout = {
      name: 'x/',
      generation: 'g',
      sizeList: [FIRST_BYTE, TOTAL],
      totalSize: FIRST_BYTE + TOTAL,
      maxShardSize: PIECE,
      pieceSizeBytes: PIECE,
      digestAlgorithm: 'xxh64',
    } as const;
    const ranges = layout.sizeList.map((lengthBytes, index) => ({
      address: index === 0 ? 4096 : Number(region.address),
      lengthBytes,
      access: 'direct' as const,
    }));
    shared = new SharedObject({ layout, role: 'replica', ranges });
  });
  afterEach(async () => {
    await region.close();
    await folder[Symbol.asyncDispose]();
  });

  test('writes a file once all of its bytes are verified, in whatever order they come', async () => {
    await using packed = new PackedFiles(files(), region);
    shared.markVerified(2);
    packed.follow(shared, FIRST_BYTE);
    await eventually('what needs no more', async () => (await list()).join() === 'f2,f3');
    shared.markVerified(0);
    await eventually('the first file', async () => (await list()).join() === 'f0,f2,f3');
    shared.markVerified(1);
    await packed.finish();
    const written = await Promise.all(files().map(({ path }) => fs.readFile(path)));
    expect(written.map(({ length }) => length)).toEqual(SIZES);
    expect(Buffer.concat(written).equals(region.view())).toBe(true);
  });

  test('finish() says which file could not be written, and no other is begun', async () => {
    const failing = files().map((file) => ({ ...file, path: folder.file(`none/${file.sizeBytes}`) }));
    await using packed = new PackedFiles(failing, region);
    packed.follow(shared, FIRST_BYTE);
    for (let piece = 0; piece < shared.pieces; piece++) shared.markVerified(piece);
    await expect(packed.finish()).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
  });

  test('close() leaves nothing that still reads the memory', async () => {
    const packed = new PackedFiles(files(), region);
    packed.follow(shared, FIRST_BYTE);
    await packed.close();
    for (let piece = 0; piece < shared.pieces; piece++) shared.markVerified(piece);
    await packed.close();
    expect(await list()).not.toContain('f0');
  });
});
