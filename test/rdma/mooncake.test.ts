/** A real Mooncake engine and ours, over the same emulated card: each reads and writes the other's memory. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { MetadataServer } from '../../src/metadata/http/metadata-server.ts';
import { MooncakePeer } from '../interop/support/mooncake-peer.ts';
import { transfer } from '../support/engines.ts';
import { allocateBytes, fillPattern, firstDifference, type TestMemory } from '../support/patterned-memory.ts';

const CARD = 'rxe0';
const HOST = '10.9.0.1';
const SIZE_BYTES = 4 * 1024 * 1024;
const LENGTHS = [1, 64 * 1024 - 1, 3 * 1024 * 1024 + 1];
const OFFSET = 4096;

let service: MetadataServer;
let theirs: MooncakePeer;
let ours: TransferEngine;
let memory: TestMemory;

beforeAll(async () => {
  service = await MetadataServer.open();
  const metadata = service.uri;
  theirs = await MooncakePeer.start({ metadata, name: `${HOST}:15001`, sizeBytes: SIZE_BYTES, rdmaDevice: CARD });
  ours = await TransferEngine.open({
    metadata,
    segmentName: `${HOST}:15002`,
    host: HOST,
    transports: ['rdma'],
    nicPriorityMatrix: { '*': [[CARD], []] },
  });
  memory = allocateBytes(SIZE_BYTES);
  await ours.registerLocalMemory(memory.address, SIZE_BYTES, '*', { remoteAccess: 'read-write' });
});

afterAll(async () => {
  await ours.close();
  await memory[Symbol.asyncDispose]();
  await theirs.close();
  await service.close();
});

function patterned(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  fillPattern(bytes, seed);
  return bytes;
}

describe.each(LENGTHS)('over RDMA, %i bytes', (length) => {
  const ourBytes = (): Uint8Array => memory.bytes.subarray(OFFSET, OFFSET + length);

  test('ours reads what is in theirs, and writes to it', async () => {
    const segment = await ours.openSegment(`${HOST}:15001`);
    const [local, remote] = [memory.address + BigInt(OFFSET), BigInt(theirs.address + OFFSET)];
    const first = patterned(length, 1);
    theirs.poke(OFFSET, first);
    memory.bytes.fill(0);
    await transfer(ours, segment, { opcode: 'read', local, remote, lengthBytes: length });
    expect(firstDifference(ourBytes(), first)).toBe(-1);

    const second = patterned(length, 2);
    ourBytes().set(second);
    await transfer(ours, segment, { opcode: 'write', local, remote, lengthBytes: length });
    expect(theirs.firstDifference(OFFSET, second)).toBe(-1);
    expect(ours.transportChoices().map(({ transport }) => transport)).toEqual(['rdma']);
  });

  test('theirs reads what is in ours, and writes to it', async () => {
    const there = { segment: ours.segmentName, offset: OFFSET, remote: Number(memory.address) + OFFSET, length };
    const first = patterned(length, 3);
    ourBytes().set(first);
    theirs.clear(0, SIZE_BYTES);
    expect(await theirs.transfer({ opcode: 'read', ...there })).toBe(0);
    expect(theirs.firstDifference(OFFSET, first)).toBe(-1);

    const second = patterned(length, 4);
    theirs.poke(OFFSET, second);
    memory.bytes.fill(0);
    expect(await theirs.transfer({ opcode: 'write', ...there })).toBe(0);
    expect(firstDifference(ourBytes(), second)).toBe(-1);
  });
});
