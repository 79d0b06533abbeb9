/** Every way in which an engine of ours and a real one can move bytes between them, every byte compared. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GIB, MIB } from '../../src/core/units.ts';
import type { Segment } from '../../src/engine/segment.ts';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { transfer } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import { allocateBytes, fillPattern, firstDifference, type TestMemory } from '../support/patterned-memory.ts';
import { MEETING_PLACES, type MeetingPlace } from './support/meeting-places.ts';
import { MooncakePeer } from './support/mooncake-peer.ts';

const SIZES: readonly number[] = [1, 65_535, 64 * MIB, GIB];
/** Nothing is aligned, and what lies around must stay as it was. */
const OFFSET = 3;
const GUARD_BYTES = 5;
const MEMORY_BYTES = GIB + 64;
const PEER_NAME = '127.0.0.1:12399';

interface Case {
  readonly initiator: 'ours' | 'theirs';
  readonly opcode: 'read' | 'write';
  readonly sizeBytes: number;
}

const CASES: readonly Case[] = SIZES.flatMap((sizeBytes) =>
  (['ours', 'theirs'] as const).flatMap((initiator) =>
    (['read', 'write'] as const).map((opcode) => ({ initiator, opcode, sizeBytes })),
  ),
);

let pattern: TestMemory;
let ours: TestMemory;

beforeAll(() => {
  pattern = allocateBytes(MEMORY_BYTES);
  fillPattern(pattern.bytes, 7);
  ours = allocateBytes(MEMORY_BYTES);
});
afterAll(async () => {
  await ours[Symbol.asyncDispose]();
  await pattern[Symbol.asyncDispose]();
});

describe.each(['etcd', 'our HTTP service', 'P2PHANDSHAKE'])('meeting by way of %s', (placeName) => {
  let place: MeetingPlace;
  let engine: TransferEngine;

  beforeAll(async () => {
    place = await (MEETING_PLACES[placeName] ?? expect.fail())();
    engine = await TransferEngine.open({ metadata: place.ours, segmentName: '127.0.0.1:12345', host: '127.0.0.1' });
    await engine.registerLocalMemory(ours.address, MEMORY_BYTES, '*', { remoteAccess: 'read-write' });
  });
  afterAll(async () => {
    await engine?.close();
    await place?.[Symbol.asyncDispose]();
  });

  describe.each([2, 1] as const)('framing version %s', (version) => {
    let peer: MooncakePeer;
    let segment: Segment;

    beforeAll(async () => {
      peer = await MooncakePeer.start({
        metadata: place.theirs,
        name: placeName === 'P2PHANDSHAKE' ? '127.0.0.1' : PEER_NAME,
        sizeBytes: MEMORY_BYTES,
        env: { MC_TCP_PROTO: String(version) }, // as initiator; as target it takes both
      });
      const name = placeName === 'P2PHANDSHAKE' ? `127.0.0.1:${peer.rpcPort}` : PEER_NAME;
      const opened = await engine.openSegment(name, { refresh: true });
      expect(opened).toMatchObject({ protocolVersion: 2, buffers: [{ address: peer.address }] });
      segment = { ...opened, protocolVersion: version };
    });
    afterAll(() => peer?.close());

    /** Puts the pattern where the bytes come from, and zeros where they go. */
    function prepare({ initiator, opcode, sizeBytes }: Case): void {
      const length = sizeBytes + GUARD_BYTES;
      const isFromUs = (initiator === 'ours') === (opcode === 'write');
      if (isFromUs) {
        ours.bytes.set(pattern.bytes.subarray(0, OFFSET + length));
        peer.clear(0, OFFSET + length);
      } else {
        peer.poke(0, pattern.bytes.subarray(0, OFFSET + length));
        ours.bytes.fill(0, 0, OFFSET + length);
      }
    }

    /** Index of the first byte at the destination that is not as it must be, -1 when all are. */
    function firstWrong({ initiator, opcode, sizeBytes }: Case): number {
      const isFromUs = (initiator === 'ours') === (opcode === 'write');
      const differenceAt = (offset: number, expected: Uint8Array): number =>
        isFromUs
          ? peer.firstDifference(offset, expected)
          : firstDifference(ours.bytes.subarray(offset, offset + expected.length), expected);
      const end = OFFSET + sizeBytes;
      const before = differenceAt(0, Buffer.alloc(OFFSET));
      const after = differenceAt(end, Buffer.alloc(GUARD_BYTES));
      expect({ before, after }).toEqual({ before: -1, after: -1 });
      return differenceAt(OFFSET, pattern.bytes.subarray(OFFSET, end));
    }

    test.each(CASES)('$initiator does a $opcode of $sizeBytes bytes', async (each) => {
      const { initiator, opcode, sizeBytes } = each;
      prepare(each);
      if (initiator === 'ours') {
        const remote = BigInt(peer.address + OFFSET);
        await transfer(engine, segment, {
          opcode,
          local: ours.address + BigInt(OFFSET),
          remote,
          lengthBytes: sizeBytes,
        });
      } else {
        const status = await peer.transfer({
          opcode,
          segment: engine.segmentName,
          offset: OFFSET,
          remote: Number(ours.address) + OFFSET,
          length: sizeBytes,
        });
        expect(status).toBe(0);
      }
      // A WRITE of version 1 is done for its sender when the bytes are on their way.
      const isUnconfirmed = version === 1 && opcode === 'write';
      if (isUnconfirmed) await eventually('the bytes', () => firstWrong(each) === -1);
      else expect(firstWrong(each)).toBe(-1);
    });
  });
});
