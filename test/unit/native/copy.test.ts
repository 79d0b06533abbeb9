import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import {
  type CopyCall,
  copyByProcessVmReadv,
  copyByProcMem,
  copyGuarded,
  isReadable,
} from '../../../src/native/copy.ts';
import { mapAnonymous, mapFileShared, unmap } from '../../../src/native/mapping.ts';
import { viewMemory } from '../../../src/native/view.ts';
import { runChildScript } from '../../support/child-script.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const PAGE = 4096;

function sha(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Three pages of which only the first two are mapped. */
async function mapWithHole(): Promise<number> {
  const address = mapAnonymous(3 * PAGE);
  await unmap(address + 2 * PAGE, PAGE);
  return address;
}

const calls: readonly [string, CopyCall][] = [
  ['copyByProcessVmReadv', copyByProcessVmReadv],
  ['copyByProcMem', copyByProcMem],
];

describe.each(calls)('copyGuarded with %s', (_name, call) => {
  test('copies any length at any offset', () => {
    const source = randomBytes(3_000_001);
    const target = new Uint8Array(3_000_001);
    copyGuarded(addressOf(source) + 3, addressOf(target) + 1, 2_999_000, call);
    expect(target[0]).toBe(0);
    expect(sha(target.subarray(1, 2_999_001))).toBe(sha(source.subarray(3, 2_999_003)));
    expect(target.subarray(2_999_001).every((byte) => byte === 0)).toBe(true);
  });

  test('throws P2P_MEMORY_FAULT with the place of the missing page', async () => {
    const source = await mapWithHole();
    const target = new Uint8Array(3 * PAGE);
    expect(() => copyGuarded(source, addressOf(target), 3 * PAGE, call)).toThrow(
      expect.objectContaining({
        code: 'P2P_MEMORY_FAULT',
        context: { address: BigInt(source + 2 * PAGE), lengthBytes: PAGE },
      }),
    );
    await unmap(source, 2 * PAGE);
  });

  test('throws P2P_MEMORY_FAULT when the target is not mapped', async () => {
    const target = await mapWithHole();
    const source = new Uint8Array(PAGE);
    expect(() => copyGuarded(addressOf(source), target + 2 * PAGE, PAGE, call)).toThrow(
      expect.objectContaining({ code: 'P2P_MEMORY_FAULT' }),
    );
    await unmap(target, 2 * PAGE);
  });

  test('throws P2P_MEMORY_FAULT behind the end of a truncated file', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), randomBytes(4 * PAGE));
    await using file = await fs.open(folder.file('a'), 'r');
    const address = mapFileShared(file.fd, 4 * PAGE, 'read');
    await fs.truncate(folder.file('a'), PAGE);
    const target = new Uint8Array(4 * PAGE);
    expect(() => copyGuarded(address, addressOf(target), 4 * PAGE, call)).toThrow(
      expect.objectContaining({ code: 'P2P_MEMORY_FAULT' }),
    );
    copyGuarded(address, addressOf(target), PAGE, call);
    await unmap(address, 4 * PAGE);
  });

  test('copies nothing for no bytes', () => {
    copyGuarded(1, 1, 0, call);
  });
});

describe('copyGuarded', () => {
  test('goes on after a partial copy', () => {
    const source = randomBytes(1000);
    const target = new Uint8Array(1000);
    const lengths: number[] = [];
    copyGuarded(addressOf(source), addressOf(target), 1000, (from, to, lengthBytes) => {
      lengths.push(lengthBytes);
      return copyByProcessVmReadv(from, to, Math.min(300, lengthBytes));
    });
    expect(lengths).toEqual([1000, 700, 400, 100]);
    expect(sha(target)).toBe(sha(source));
  });

  test('passes another failure on with its errno', () => {
    expect(() => copyGuarded(1, 1, 1, () => -12)).toThrow(
      expect.objectContaining({
        code: 'P2P_SYSTEM_CALL_FAILED',
        context: expect.objectContaining({ errnoName: 'ENOMEM' }),
      }),
    );
  });

  test.skipIf(process.arch !== 'x64')('works where process_vm_readv is forbidden', async () => {
    // A seccomp filter as a container's sandbox has it: EPERM for call 310, everything else allowed.
    const outcome = await runChildScript(`
      const { libcFunction } = await dist('native/libc.js');
      const { addressOf } = await dist('native/address.js');
      const { copyByProcessVmReadv, copyGuarded, isReadable } = await dist('native/copy.js');
      const prctl = libcFunction('int prctl(int option, size_t a, size_t b, size_t c, size_t d)');
      const filter = new DataView(new ArrayBuffer(32));
      [[0x20, 0, 0, 0], [0x15, 0, 1, 310], [0x06, 0, 0, 0x50001], [0x06, 0, 0, 0x7fff0000]].forEach(([code, yes, no, k], at) => {
        filter.setUint16(at * 8, code, true);
        filter.setUint8(at * 8 + 2, yes);
        filter.setUint8(at * 8 + 3, no);
        filter.setUint32(at * 8 + 4, k, true);
      });
      const program = new DataView(new ArrayBuffer(16));
      program.setUint16(0, 4, true);
      program.setBigUint64(8, BigInt(addressOf(filter)), true);
      if (prctl(38, 1, 0, 0, 0) !== 0 || prctl(22, 2, addressOf(program), 0, 0) !== 0) throw new Error('no filter');
      const source = Buffer.from('behind the filter');
      const target = Buffer.alloc(source.length);
      const direct = copyByProcessVmReadv(addressOf(source), addressOf(target), source.length);
      copyGuarded(addressOf(source), addressOf(target), source.length);
      let code;
      try { copyGuarded(4096, addressOf(target), 1); } catch (error) { code = error.code; }
      console.log(JSON.stringify([direct, target.toString(), code, isReadable(4096, 1)]));
    `);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(JSON.parse(outcome.stdout)).toEqual([-1, 'behind the filter', 'P2P_MEMORY_FAULT', false]);
  });
});

describe('isReadable', () => {
  test('looks at both ends', async () => {
    const address = await mapWithHole();
    expect(isReadable(address, 2 * PAGE)).toBe(true);
    expect(isReadable(address, 2 * PAGE + 1)).toBe(false);
    expect(isReadable(address + 2 * PAGE, 1)).toBe(false);
    expect(isReadable(0, 8)).toBe(false);
    expect(isReadable(0, 0)).toBe(true);
    await unmap(address, 2 * PAGE);
  });

  test('writes nothing to the memory', async () => {
    const address = mapAnonymous(PAGE);
    viewMemory(address, PAGE).fill(3);
    isReadable(address, PAGE);
    expect(viewMemory(address, PAGE).every((byte) => byte === 3)).toBe(true);
    await unmap(address, PAGE);
  });
});
