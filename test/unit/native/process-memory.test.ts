import { constants } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MARK_BYTES, ProcessCopy, type ProcessMark } from '../../../src/native/process-memory.ts';
import { type NodeChild, startNodeChild } from '../../support/node-child.ts';
import { allocateBytes, firstOtherThan, type TestMemory } from '../../support/patterned-memory.ts';

const { ESRCH } = constants.errno;
const PAGE_BYTES = 4096;
const LARGE_BYTES = 1024 * 1024;

/** Memory of another process: a mark, and behind it bytes of value 7; the last page is gone. */
const CHILD = `
const { allocate } = await dist('memory/memory-region.js');
const { unmap } = await dist('native/mapping.js');
const region = allocate(${LARGE_BYTES + 2 * PAGE_BYTES});
const bytes = region.view();
bytes.fill(7);
bytes.set(Buffer.from('0123456789abcdef'));
await unmap(Number(region.address) + ${LARGE_BYTES + PAGE_BYTES}, ${PAGE_BYTES});
console.log('memory', String(region.address));
setInterval(() => console.log('first', bytes[${PAGE_BYTES}]), 20);
`;

describe('ProcessCopy', () => {
  const copy = new ProcessCopy(4);
  let child: NodeChild;
  let mark: ProcessMark;
  let local: TestMemory;
  let remoteAddress: number;

  beforeAll(async () => {
    child = startNodeChild(CHILD);
    const address = Number((await child.line('memory')).split(' ')[1]);
    mark = { address, bytes: Buffer.from('0123456789abcdef') };
    remoteAddress = address + PAGE_BYTES;
    local = allocateBytes(LARGE_BYTES);
  });
  afterAll(async () => {
    await child?.kill();
    await local?.region.close();
    copy.free();
  });

  const otherMark = (): ProcessMark => ({ ...mark, bytes: Buffer.alloc(MARK_BYTES, 9) });

  test.each([1000, LARGE_BYTES])(
    'copies several ranges of %i bytes in all from another process',
    async (lengthBytes) => {
      local.bytes.fill(0);
      const half = lengthBytes / 2;
      const localAddress = Number(local.address);
      const outcome = await copy.copy('read', child.pid, mark, [
        { localAddress: localAddress + half, remoteAddress, lengthBytes: half },
        { localAddress, remoteAddress: remoteAddress + half, lengthBytes: half },
      ]);
      expect(outcome).toEqual({ copiedBytes: lengthBytes, errno: 0 });
      expect(firstOtherThan(local.bytes.subarray(0, lengthBytes), 7)).toBe(-1);
    },
  );

  test('stops at a page that is not there', async () => {
    const parts = [
      { localAddress: Number(local.address), remoteAddress: remoteAddress + PAGE_BYTES, lengthBytes: LARGE_BYTES },
    ];
    const outcome = await copy.copy('read', child.pid, mark, parts);
    expect(outcome).toEqual({ copiedBytes: LARGE_BYTES - PAGE_BYTES, errno: 0 });
  });

  test('takes nothing for read, and writes nothing, when the process is not the one that is meant', async () => {
    const parts = [{ localAddress: Number(local.address), remoteAddress, lengthBytes: LARGE_BYTES }];
    expect(copy.probe(child.pid, mark)).toBe(0);
    expect(copy.probe(child.pid, otherMark())).toBe(ESRCH);
    expect(await copy.copy('read', child.pid, otherMark(), parts)).toEqual({ copiedBytes: 0, errno: ESRCH });
    local.bytes.fill(3);
    expect(await copy.copy('write', child.pid, otherMark(), parts)).toEqual({ copiedBytes: 0, errno: ESRCH });
    const from = child.lines.length;
    expect(await child.line('first', { from: from + 1 })).toBe('first 7');
    expect(await copy.copy('write', child.pid, mark, parts)).toEqual({ copiedBytes: LARGE_BYTES, errno: 0 });
    expect(await child.line('first 3')).toBe('first 3');
  });

  test('finds nobody when the mark points nowhere, and when the process is gone', async () => {
    expect(copy.probe(child.pid, { ...mark, address: PAGE_BYTES })).toBe(ESRCH);
    await child.kill();
    expect(copy.probe(child.pid, mark)).toBe(ESRCH);
    const parts = [{ localAddress: Number(local.address), remoteAddress, lengthBytes: 1 }];
    expect(await copy.copy('read', child.pid, mark, parts)).toEqual({ copiedBytes: 0, errno: ESRCH });
  });
});
