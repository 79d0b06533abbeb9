import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PeerRanges } from '../../../../../src/engine/transport/local/peer-ranges.ts';
import { lockByteOf, MAX_ENTRIES, RangeTable } from '../../../../../src/engine/transport/local/range-table.ts';
import { lockBytes } from '../../../../../src/native/shared-file.ts';
import { silentLogger } from '../../../../../src/observability/logger.ts';
import { eventually } from '../../../../support/eventually.ts';

const MARK = Buffer.from('0123456789abcdef');
const READER_WAIT_MS = 200;

describe('RangeTable', () => {
  let table: RangeTable;
  let fd: number;
  let ranges: PeerRanges;
  let isClosed = false;

  beforeEach(() => {
    table = new RangeTable(MARK, silentLogger, READER_WAIT_MS);
    fd = fs.openSync(`/proc/self/fd/${table.fd}`, 'r');
    ranges = new PeerRanges(fd, MARK);
    isClosed = false;
  });
  afterEach(async () => {
    fs.closeSync(fd);
    if (!isClosed) await table.close();
  });

  function add(address: number, lengthBytes: number, access: 'none' | 'read' | 'read-write' = 'read'): void {
    table.add({ address, lengthBytes, isReadable: access !== 'none', isWritable: access === 'read-write' });
  }

  function find(address: number, lengthBytes: number): ReturnType<PeerRanges['find']> {
    ranges.refresh();
    return ranges.find(address, lengthBytes);
  }

  test('tells peers what they may touch, and nothing else', async () => {
    add(0x7f00_0000_5000, 4096, 'read-write');
    add(0x7f00_0000_1000, 4096);
    add(0x7f00_0000_9000, 4096, 'none');
    expect(find(0x7f00_0000_1000, 4096)).toMatchObject({ isWritable: false });
    expect(find(0x7f00_0000_5fff, 1)).toMatchObject({ isWritable: true });
    expect(find(0x7f00_0000_1001, 4096)).toBeUndefined();
    expect(find(0x7f00_0000_0fff, 1)).toBeUndefined();
    expect(find(0x7f00_0000_9000, 1)).toBeUndefined();
    await table.remove(0x7f00_0000_1000);
    expect(find(0x7f00_0000_1000, 4096)).toBeUndefined();
  });

  test('tells a range from one that got its place later', async () => {
    add(4096, 4096);
    const before = find(4096, 4096);
    await table.remove(4096);
    add(4096, 4096);
    const after = find(4096, 4096);
    expect(after?.slot).toBe(before?.slot);
    expect(before && ranges.has(before)).toBe(false);
    expect(after && ranges.has(after)).toBe(true);
  });

  test.each(['read', 'write'] as const)('waits with the removal until a %s has ended', async (opcode) => {
    add(4096, 4096, 'read-write');
    add(16_384, 4096);
    const slot = find(4096, 4096)?.slot ?? -1;
    lockBytes(fd, lockByteOf(slot, opcode), 1, 'shared');
    let isRemoved = false;
    const removed = table.remove(4096).then(() => {
      isRemoved = true;
    });
    await table.remove(16_384); // nobody holds that one
    expect(find(4096, 4096)).toBeUndefined();
    expect(isRemoved).toBe(false);
    lockBytes(fd, lockByteOf(slot, opcode), 1, 'none');
    await removed;
  });

  test('waits for a reader that is stuck no longer than some time, and for a writer until it has gone', async () => {
    add(4096, 4096, 'read-write');
    const slot = find(4096, 4096)?.slot ?? -1;
    lockBytes(fd, lockByteOf(slot, 'read'), 1, 'shared');
    const startedMs = performance.now();
    await table.remove(4096);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(READER_WAIT_MS);
    add(4096, 4096, 'read-write');
    const other = find(4096, 4096)?.slot ?? -1;
    expect(other).not.toBe(slot); // the stuck one still holds its place
    lockBytes(fd, lockByteOf(other, 'write'), 1, 'shared');
    let isRemoved = false;
    const removed = table.remove(4096).then(() => {
      isRemoved = true;
    });
    const waitedMs = 2 * READER_WAIT_MS;
    await eventually('some time to pass', () => performance.now() - startedMs > READER_WAIT_MS + waitedMs);
    expect(isRemoved).toBe(false);
    lockBytes(fd, lockByteOf(other, 'write'), 1, 'none');
    await removed;
  });

  test('is of nobody once it has closed, and waits for readers then too', async () => {
    add(4096, 4096);
    const slot = find(4096, 4096)?.slot ?? -1;
    lockBytes(fd, lockByteOf(slot, 'read'), 1, 'shared');
    const closed = table.close();
    isClosed = true;
    expect(() => ranges.refresh()).toThrow(/has closed it/);
    lockBytes(fd, lockByteOf(slot, 'read'), 1, 'none');
    await closed;
  });

  test('is not taken for that of another process', () => {
    expect(() => new PeerRanges(fd, Buffer.alloc(16, 1)).refresh()).toThrow(/not of the process/);
  });

  test('leaves out what no room is left for', () => {
    for (let index = 0; index <= MAX_ENTRIES; index++) add((index + 1) * 4096, 4096);
    expect(find(MAX_ENTRIES * 4096, 4096)).toBeDefined();
    expect(find((MAX_ENTRIES + 1) * 4096, 1)).toBeUndefined();
  });
});
