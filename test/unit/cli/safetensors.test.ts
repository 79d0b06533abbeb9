import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeHeader, planTensors, tensorSizeBytes, writeSafetensors } from '../../../src/cli/safetensors.ts';

const MIB = 1024 * 1024;

describe('planTensors', () => {
  test.each([65_536, MIB, 5 * MIB + 3, 512 * MIB])('fills %d bytes up to a row', (sizeBytes) => {
    const tensors = planTensors(sizeBytes);
    const total = tensors.reduce((sum, tensor) => sum + tensorSizeBytes(tensor), 0);
    expect(total).toBeLessThanOrEqual(sizeBytes);
    expect(total).toBeGreaterThan(sizeBytes - 1024);
    expect(new Set(tensors.map(({ dtype }) => dtype))).toEqual(new Set(['BF16', 'F32']));
    expect(tensors.flatMap(({ shape }) => shape).every((length) => length > 0)).toBe(true);
    expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
  });
});

describe('writeSafetensors', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2p-safetensors-'));
  });
  afterEach(() => fs.rm(folder, { recursive: true, force: true }));

  test('writes a length, a header and bytes without gaps', async () => {
    const file = path.join(folder, 'a.safetensors');
    const tensors = planTensors(9 * MIB);
    const sizeBytes = await writeSafetensors(file, tensors, { seed: 1 });
    const bytes = await fs.readFile(file);
    expect(bytes.length).toBe(sizeBytes);

    const headerBytes = Number(bytes.readBigUInt64LE());
    expect(headerBytes % 8).toBe(0);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes));
    expect(header['__metadata__']).toEqual({ format: 'pt' });
    let offset = 0;
    for (const tensor of tensors) {
      const entry = header[tensor.name];
      expect(entry).toEqual({
        dtype: tensor.dtype,
        shape: tensor.shape,
        data_offsets: [offset, offset + tensorSizeBytes(tensor)],
      });
      offset = entry.data_offsets[1];
    }
    expect(8 + headerBytes + offset).toBe(bytes.length);
  });

  test('fills it with bytes that depend on the seed and do not repeat', async () => {
    const write = async (seed: number): Promise<Buffer> => {
      const file = path.join(folder, `${seed}-${Math.random()}`);
      await writeSafetensors(file, planTensors(9 * MIB), { seed });
      return fs.readFile(file);
    };
    const [first, again, other] = [await write(1), await write(1), await write(2)];
    expect(first.equals(again)).toBe(true);
    expect(first.equals(other)).toBe(false);
    const chunks = [0, 1, 2, 3].map((index) => first.subarray(4096 + index * 2 * MIB, 4096 + (index + 1) * 2 * MIB));
    expect(new Set(chunks.map((chunk) => createHash('sha1').update(chunk).digest('hex'))).size).toBe(4);
  });

  test('stops at an abort', async () => {
    const file = path.join(folder, 'a');
    await expect(
      writeSafetensors(file, planTensors(MIB), { seed: 1, signal: AbortSignal.abort(new Error('stop')) }),
    ).rejects.toThrow('stop');
  });
});

describe('encodeHeader', () => {
  test('pads the JSON with spaces to a multiple of eight', () => {
    const header = encodeHeader([{ name: 'a', dtype: 'F32', shape: [2] }]);
    expect(header.length % 8).toBe(0);
    expect(header.readBigUInt64LE()).toBe(BigInt(header.length - 8));
    expect(JSON.parse(header.toString('utf8', 8))).toMatchObject({ a: { data_offsets: [0, 8] } });
  });
});
