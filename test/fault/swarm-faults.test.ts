import { truncate, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { mapFile } from '../../src/memory/map-file.ts';
import { eventually } from '../support/eventually.ts';
import { expectSameBytes } from '../support/patterned-memory.ts';
import { layoutOf, pieceSizeBytes, type SwarmNode, TestSwarm } from '../support/swarm-nodes.ts';
import { makeTemporaryFolder } from '../support/temporary-folder.ts';

const layout = layoutOf(40 * pieceSizeBytes);

/** Whether anything has come from a source, verified or not. */
function hasBytes({ memory }: SwarmNode): boolean {
  return memory.bytes.some((byte) => byte !== 0);
}

describe('downloadObject(), when sources fail', () => {
  test('rejects with P2P_MEMORY_CHANGED when the owner changed the memory', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    await gold.digest();
    gold.list();
    gold.memory.bytes[17 * pieceSizeBytes + 5] = 0xee;
    const receiver = await swarm.open(layout, 'replica');
    await expect(receiver.download()).rejects.toMatchObject({
      code: ErrorCode.MemoryChanged,
      context: { name: layout.name, pieceIndex: 17, segment: gold.segment },
    });
    expect(receiver.object.verified.has(17)).toBe(false);
    expect(gold.object.verified.has(17)).toBe(false); // it is not offered any more
  });

  test('takes a changed piece from a relay that has it as it was', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    await gold.digest();
    gold.list();
    const relay = await swarm.open(layout, 'replica');
    await relay.download();
    relay.list();
    gold.memory.bytes[17 * pieceSizeBytes + 5] = 0xee;
    const receiver = await swarm.open(layout, 'replica');
    await receiver.download();
    expectSameBytes(receiver.memory.bytes, relay.memory.bytes);
  });

  test('rejects with P2P_MEMORY_FAULT when the only source says that its memory cannot be read', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    gold.list();
    const receiver = await swarm.open(layout, 'replica');
    const done = receiver.download();
    await eventually('the first bytes', () => hasBytes(receiver));
    gold.object.markDamaged('the file was truncated');
    await expect(done).rejects.toMatchObject({ code: ErrorCode.MemoryFault });
    await expect(done).rejects.toThrow(gold.segment);
  });

  test('rejects with P2P_MEMORY_FAULT when the file of the only source was truncated', async () => {
    await using folder = await makeTemporaryFolder();
    const path = folder.file('weights');
    await writeFile(path, Buffer.alloc(layout.totalSize, 0x11));
    await using mapping = await mapFile(path);
    await using swarm = new TestSwarm();
    const range = { address: Number(mapping.address), lengthBytes: layout.totalSize, access: 'guarded' as const };
    const gold = await swarm.open(layout, 'gold', [range]);
    await gold.digest();
    gold.list();
    await truncate(path, 10 * pieceSizeBytes);
    const receiver = await swarm.open(layout, 'replica');
    const done = receiver.download();
    await expect(done).rejects.toMatchObject({ code: ErrorCode.MemoryFault });
    await expect(done).rejects.toThrow(gold.segment);
    expect(gold.object.state.tag).toBe('damaged');
  });

  test('rejects with P2P_NO_SOURCE, naming what is missing, when the only source is killed', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    gold.list(); // not digested: no piece can be verified
    const receiver = await swarm.open(layout, 'replica');
    const done = receiver.download({ options: { graceMs: 3_000 } });
    await eventually('the first bytes', () => hasBytes(receiver));
    await gold.kill();
    await expect(done).rejects.toMatchObject({ code: ErrorCode.NoSource, context: { name: layout.name } });
  });

  test('rejects with the reason of an abort, and then nothing writes to the target any more', async () => {
    await using swarm = new TestSwarm();
    const large = layoutOf(1_000 * pieceSizeBytes);
    const gold = await swarm.open(large, 'gold');
    await gold.digest();
    gold.list();
    const receiver = await swarm.open(large, 'replica');
    const abort = new AbortController();
    const reason = new Error('enough');
    let requests = 0;
    const done = receiver.download({
      signal: abort.signal,
      engine: {
        openSegment: (name) => receiver.engine.openSegment(name),
        submitTransfer: (...request) => {
          requests += 1;
          if (requests === 100) setImmediate(() => abort.abort(reason)); // with many requests under way
          return receiver.engine.submitTransfer(...request);
        },
      },
    });
    await expect(done).rejects.toBe(reason);
    expect(receiver.object.isComplete).toBe(false);
    receiver.memory.bytes.fill(0x5a);
    const other = await swarm.open(large, 'replica');
    await other.download(); // longer than what was cut off would have taken
    expectSameBytes(receiver.memory.bytes, Buffer.alloc(large.totalSize, 0x5a));
  });

  test('leaves a source whose data port stalls', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    await gold.digest();
    gold.list();
    const relay = await swarm.open(layout, 'replica');
    await relay.download();
    relay.list();
    const receiver = await swarm.open(layout, 'replica');
    const stalls = new Set([relay.segment]);
    const result = await receiver.download({
      engine: {
        openSegment: (name) => (stalls.has(name) ? new Promise(() => {}) : receiver.engine.openSegment(name)),
        submitTransfer: (requests, options) => receiver.engine.submitTransfer(requests, options),
      },
      options: { scheduler: { stallUnmeasuredMs: 300, stallMsMin: 300 } },
    });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(result.sources.map(({ segment }) => segment)).toEqual([gold.segment]);
  });
});
