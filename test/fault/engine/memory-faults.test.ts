import fs from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { MIB } from '../../../src/core/units.ts';
import { mapFile } from '../../../src/memory/map-file.ts';
import { allocate } from '../../../src/memory/memory-region.ts';
import { type Move, openEngine, outcomeOf, requestsOf, segmentAt, transfer } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../../support/patterned-memory.ts';
import { startServingChild } from '../../support/serving-child.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

const SIZE_BYTES = 16 * MIB;

describe('local memory that is gone', () => {
  test.each(['read', 'write'] as const)('fails a %s with P2P_MEMORY_FAULT, and no other transfer', async (opcode) => {
    await using client = await openEngine({ connectionsPerPeer: 1 });
    await using server = await openEngine();
    await using remote = allocateBytes(SIZE_BYTES);
    await using local = allocateBytes(SIZE_BYTES);
    fillPattern(remote.bytes, 9);
    await server.registerLocalMemory(remote.address, SIZE_BYTES, '*', { remoteAccess: 'read-write' });
    await client.registerLocalMemory(local.address, SIZE_BYTES, '*', { remoteAccess: 'none' });
    const gone = allocate(SIZE_BYTES);
    await client.registerLocalMemory(gone.address, SIZE_BYTES, '*', { remoteAccess: 'none' });
    await gone.close();
    const segment = segmentAt(server.dataPort);
    const part = SIZE_BYTES / 16;
    const good = Array.from({ length: 16 }, (_, index): Move => {
      const at = BigInt(index * part);
      return { opcode: 'read', local: local.address + at, remote: remote.address + at, lengthBytes: part };
    });
    const bad: Move = { opcode, local: gone.address, remote: remote.address, lengthBytes: part };
    const batch = client.submitTransfer(requestsOf(segment, [...good.slice(0, 8), bad, ...good.slice(8)]));
    expect(await outcomeOf(batch.done)).toBe(ErrorCode.MemoryFault);
    expect(batch.tasks.map(({ status }) => status)).toEqual([
      ...new Array<string>(8).fill('COMPLETED'),
      'FAILED',
      ...new Array<string>(8).fill('COMPLETED'),
    ]);
    expectSameBytes(local.bytes, remote.bytes);
  });

  test('that was served is reported to its owner, and the reader gets an error', async () => {
    await using client = await openEngine();
    await using server = await openEngine();
    await using local = allocateBytes(SIZE_BYTES);
    await client.registerLocalMemory(local.address, SIZE_BYTES, '*', { remoteAccess: 'none' });
    const gone = allocate(SIZE_BYTES);
    await server.registerLocalMemory(gone.address, SIZE_BYTES, '*', { remoteAccess: 'read-write' });
    await gone.close();
    const faults: [number, number][] = [];
    const stopListening = server.onMemoryFault((address, lengthBytes) => faults.push([address, lengthBytes]));
    for (const opcode of ['read', 'write'] as const) {
      faults.length = 0;
      const move = { opcode, local: local.address, remote: gone.address, lengthBytes: SIZE_BYTES };
      expect(await outcomeOf(transfer(client, segmentAt(server.dataPort), move))).toBe(ErrorCode.TransferFailed);
      await eventually('the report', () => faults.length > 0);
      expect(faults[0]).toEqual([Number(gone.address), SIZE_BYTES]);
    }
    stopListening();
  });

  test('of a file mapping that is read-only fails a READ into it', async () => {
    await using folder = await makeTemporaryFolder();
    await fs.writeFile(folder.file('a'), Buffer.alloc(MIB, 1));
    await using mapping = await mapFile(folder.file('a'));
    await using engine = await openEngine();
    await using remote = allocateBytes(MIB, 2);
    await engine.registerLocalMemory(remote.address, MIB);
    await engine.registerLocalMemory(mapping.address, MIB, '*', { remoteAccess: 'none' });
    const move = { opcode: 'read', local: mapping.address, remote: remote.address, lengthBytes: MIB } as const;
    expect(await outcomeOf(transfer(engine, segmentAt(engine.dataPort), move))).toBe(ErrorCode.MemoryFault);
    expect((await fs.readFile(folder.file('a'))).every((byte) => byte === 1)).toBe(true);
  });
});

describe('a served file', () => {
  test('that is truncated is an error for its reader, a report for its owner, and the end of no process', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('served');
    const content = Buffer.alloc(SIZE_BYTES);
    fillPattern(content, 21);
    await fs.writeFile(path, content);
    await using peer = await startServingChild({ sizeBytes: SIZE_BYTES, file: path });
    await using client = await openEngine();
    await using local = allocateBytes(SIZE_BYTES);
    await client.registerLocalMemory(local.address, SIZE_BYTES, '*', { remoteAccess: 'none' });
    const whole = { opcode: 'read', local: local.address, remote: peer.address, lengthBytes: SIZE_BYTES } as const;
    await transfer(client, peer.segment, whole);
    expectSameBytes(local.bytes, content);

    await fs.truncate(path, SIZE_BYTES / 2);
    expect(await outcomeOf(transfer(client, peer.segment, whole))).toBe(ErrorCode.TransferFailed);
    expect(await peer.child.line('fault')).toBe(`fault ${peer.address} ${SIZE_BYTES}`);

    local.bytes.fill(0);
    await transfer(client, peer.segment, { ...whole, lengthBytes: SIZE_BYTES / 2 });
    expectSameBytes(local.bytes.subarray(0, SIZE_BYTES / 2), content.subarray(0, SIZE_BYTES / 2));
  });
});
