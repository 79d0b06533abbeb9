import { afterEach, describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import { KIB, MIB } from '../../../src/core/units.ts';
import type { Segment } from '../../../src/engine/segment.ts';
import type { Batch, TransferRequest } from '../../../src/engine/transfer.ts';
import type { TransferEngine, TransferEngineOptions } from '../../../src/engine/transfer-engine.ts';
import { createSendLoad, SendLoad } from '../../../src/engine/transport/tcp/send-load.ts';
import { openEngine } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import { allocateBytes, expectSameBytes, fillPattern, firstOtherThan } from '../../support/patterned-memory.ts';

const OBJECT_BYTES = 32 * MIB;
const PIECE_BYTES = 256 * KIB;
const never = { queuedBytes: 1024 * MIB, sentWithinMs: 0 };
const whenAnything = { queuedBytes: 1, sentWithinMs: 0 };
const onceAMinute = { queuedBytes: 1024 * MIB, sentWithinMs: 60_000 };

/** Why the peer refused each request; undefined where it did not. */
function refusalsOf(batch: Batch): (string | undefined)[] {
  return batch.tasks.map(({ error }) =>
    isP2PStoreError(error, ErrorCode.TransferRefused) ? error.context.reason : error?.code,
  );
}

/**
 * Where in an object a test may begin. A server remembers what it sent by a hash, and forgets the older of two addresses that
 * clash. Where memory lies differs from run to run, so this looks for a place whose address none of the pieces after it clashes with.
 */
function unforgottenStart(objectAddress: bigint, pieces: number): number {
  const starts = Array.from({ length: 100 }, (_, step) => step * 4 * KIB);
  const isRemembered = (start: number): boolean => {
    const load = new SendLoad(createSendLoad());
    const first = Number(objectAddress) + start;
    for (let piece = 0; piece < pieces; piece++) load.begin(first + piece * PIECE_BYTES, PIECE_BYTES, 0);
    return load.refusal(first, { ...onceAMinute, queuedBytes: Number.POSITIVE_INFINITY }, 0) === 'sent';
  };
  return starts.find(isRemembered) ?? expect.fail('every start clashes');
}

describe('a READ that may be refused', () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const item of opened.splice(0).toReversed()) await item.close();
  });

  async function open(options: Partial<TransferEngineOptions> = {}): Promise<TransferEngine> {
    const engine = await openEngine(options);
    opened.push(engine);
    return engine;
  }

  async function setUp(serverOptions: Partial<TransferEngineOptions> = {}) {
    const server = await open(serverOptions);
    const client = await open({ connectionsPerPeer: 1 });
    const [remote, local] = [allocateBytes(OBJECT_BYTES), allocateBytes(OBJECT_BYTES)];
    opened.push(remote.region, local.region);
    fillPattern(remote.bytes, 7);
    await server.registerLocalMemory(remote.address, OBJECT_BYTES, '*');
    await client.registerLocalMemory(local.address, OBJECT_BYTES, '*');
    const segment = await client.openSegment(server.segmentName);
    const read = (
      offset: number,
      lengthBytes: number,
      refuseWhen?: TransferRequest['refuseWhen'],
    ): TransferRequest => ({
      opcode: 'read',
      segment,
      localAddress: local.address + BigInt(offset),
      remoteAddress: remote.address + BigInt(offset),
      lengthBytes,
      refuseWhen,
    });
    return { server, client, remote, local, segment, read };
  }

  test("goes through the engine's own thread while pieces come slowly, and through the I/O workers when they come fast", async () => {
    const { read, client, local, remote } = await setUp();
    const piece = 2 * MIB;
    await client.submitTransfer([read(0, piece, never)]).done;
    expect(client.paths()).toHaveLength(1);
    for (let round = 0; round < 4; round++) {
      local.bytes.fill(0);
      const all = Array.from({ length: OBJECT_BYTES / piece }, (_, index) => read(index * piece, piece, never));
      await client.submitTransfer(all).done;
      expectSameBytes(local.bytes, remote.bytes);
    }
    expect(client.paths()).toHaveLength(2);
  });

  test('is refused by a server that has others to serve, and served once it has not', async () => {
    const { server, read, client, local, remote } = await setUp({ maxUploadBytesPerSecond: 8_000_000 }); // 2 s
    const other = await open();
    const otherLocal = allocateBytes(OBJECT_BYTES);
    opened.push(otherLocal.region);
    await other.registerLocalMemory(otherLocal.address, OBJECT_BYTES, '*');
    const segment: Segment = await other.openSegment(server.segmentName);
    const addresses = { localAddress: otherLocal.address, remoteAddress: remote.address };
    const long = other.submitTransfer([{ opcode: 'read', segment, ...addresses, lengthBytes: 16 * MIB }]);
    await eventually('the long READ moves', () => (long.tasks[0]?.transferredBytes ?? 0) > 0);
    const busy = client.submitTransfer([read(0, PIECE_BYTES, whenAnything)]);
    await expect(busy.done).rejects.toMatchObject({ code: ErrorCode.TransferRefused, retryable: true });
    expect(refusalsOf(busy)).toEqual(['busy']);
    expect(firstOtherThan(local.bytes.subarray(0, PIECE_BYTES), 0)).toBe(-1);
    await client.submitTransfer([read(0, PIECE_BYTES, never)]).done; // on the same connection
    await long.done;
    await eventually('the server has counted the last bytes as sent, and serves', async () => {
      const batch = client.submitTransfer([read(PIECE_BYTES, PIECE_BYTES, whenAnything)]);
      await batch.done.catch(() => {}); // its bytes may be here before its thread goes on
      const [refusal] = refusalsOf(batch);
      expect([undefined, 'busy']).toContain(refusal);
      return refusal === undefined;
    });
    expectSameBytes(local.bytes.subarray(0, 2 * PIECE_BYTES), remote.bytes.subarray(0, 2 * PIECE_BYTES));
  });

  test('is refused when the same bytes have just gone to somebody', async () => {
    const { client, read } = await setUp();
    await client.submitTransfer([read(0, PIECE_BYTES, onceAMinute)]).done;
    const batch = client.submitTransfer([
      read(0, PIECE_BYTES, onceAMinute),
      read(PIECE_BYTES, PIECE_BYTES, onceAMinute),
    ]);
    await expect(batch.done).rejects.toMatchObject({ code: ErrorCode.TransferRefused });
    expect(refusalsOf(batch)).toEqual(['sent', undefined]);
    await client.submitTransfer([read(0, PIECE_BYTES, never)]).done;
  });

  test('leaves all answers around it on its connection where they belong', async () => {
    const { client, read, local, remote } = await setUp();
    const start = unforgottenStart(remote.address, 121);
    await client.submitTransfer([read(start, PIECE_BYTES)]).done;
    const requests: TransferRequest[] = [];
    for (let at = 0; at < 60; at++) {
      requests.push(read(start, PIECE_BYTES, onceAMinute)); // sent before: refused
      requests.push(read(start + (1 + 2 * at) * PIECE_BYTES, at % 3 === 0 ? 100 : PIECE_BYTES));
      requests.push(read(start + (2 + 2 * at) * PIECE_BYTES, PIECE_BYTES, onceAMinute));
    }
    const batch = client.submitTransfer(requests);
    await expect(batch.done).rejects.toMatchObject({ code: ErrorCode.TransferRefused });
    expect(refusalsOf(batch)).toEqual(requests.map((_, at) => (at % 3 === 0 ? 'sent' : undefined)));
    for (const { localAddress = 0, lengthBytes } of requests) {
      const offset = Number(BigInt(localAddress) - local.address);
      expectSameBytes(
        local.bytes.subarray(offset, offset + lengthBytes),
        remote.bytes.subarray(offset, offset + lengthBytes),
      );
    }
  });

  test('of more than one slice is served whole or refused whole', async () => {
    const { client, read, local, remote } = await setUp();
    const start = unforgottenStart(remote.address, (12 * MIB) / PIECE_BYTES);
    const end = start + 12 * MIB;
    await client.submitTransfer([read(start, 12 * MIB, onceAMinute)]).done;
    expectSameBytes(local.bytes.subarray(start, end), remote.bytes.subarray(start, end));
    local.bytes.fill(0);
    const again = client.submitTransfer([read(start, 12 * MIB, onceAMinute)]);
    await expect(again.done).rejects.toMatchObject({ code: ErrorCode.TransferRefused });
    expect(firstOtherThan(local.bytes, 0)).toBe(-1);
  });
});
