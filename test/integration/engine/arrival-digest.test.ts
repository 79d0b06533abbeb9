import { afterEach, describe, expect, test } from 'vitest';
import { KIB, MIB } from '../../../src/core/units.ts';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import type { TransferRequest } from '../../../src/engine/transfer.ts';
import type { TransferEngineOptions } from '../../../src/engine/transfer-engine.ts';
import { openEngine } from '../../support/engines.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../../support/patterned-memory.ts';

const OBJECT_BYTES = 32 * MIB;
const refuseWhen = { queuedBytes: 1024 * MIB, sentWithinMs: 0 };

describe('a READ that asks for the digest of its bytes', () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const item of opened.splice(0).toReversed()) await item.close();
  });

  async function setUp(options: Partial<TransferEngineOptions> = {}, access?: 'direct') {
    const [server, client] = [await openEngine(options), await openEngine(options)];
    const [remote, local] = [allocateBytes(OBJECT_BYTES), allocateBytes(OBJECT_BYTES)];
    opened.push(remote.region, local.region, server, client);
    fillPattern(remote.bytes, 7);
    await server.registerLocalMemory(remote.address, OBJECT_BYTES, '*', { remoteAccess: 'read-write' });
    await client.registerLocalMemory(local.address, OBJECT_BYTES, '*', { ...(access && { access }) });
    const segment = await client.openSegment(server.segmentName);
    const request = (offset: number, lengthBytes: number, more: Partial<TransferRequest> = {}): TransferRequest => ({
      opcode: 'read',
      segment,
      localAddress: local.address + BigInt(offset),
      remoteAddress: remote.address + BigInt(offset),
      lengthBytes,
      digestAlgorithm: 'xxh64',
      ...more,
    });
    const run = async (...requests: TransferRequest[]): Promise<(Uint8Array | undefined)[]> => {
      const batch = client.submitTransfer(requests);
      await batch.done;
      return batch.tasks.map(({ digest }) => digest);
    };
    const expected = (offset: number, lengthBytes: number) =>
      digestBytes('xxh64', remote.bytes.subarray(offset, offset + lengthBytes));
    return { remote, local, request, run, expected };
  }

  test.each([undefined, 'direct'] as const)('gets it, each its own (access %s)', async (access) => {
    const { request, run, expected, local, remote } = await setUp({}, access);
    const places = [0, 1, 2, 3, 4, 5, 6, 7].map((at) => [at * 4 * MIB, 4 * MIB - at * 37] as const);
    const digests = await run(...places.map(([offset, length]) => request(offset, length)));
    expect(digests).toEqual(places.map(([offset, length]) => expected(offset, length)));
    expectSameBytes(local.bytes.subarray(0, 4 * MIB), remote.bytes.subarray(0, 4 * MIB));
  });

  test("gets it when the engine's own thread moves the bytes, and when a large one travels as a whole", async () => {
    const { request, run, expected } = await setUp();
    expect(await run(request(5, 4 * KIB))).toEqual([expected(5, 4 * KIB)]);
    expect(await run(request(0, 16 * MIB, { refuseWhen }))).toEqual([expected(0, 16 * MIB)]);
  });

  test('gets none when the request was cut, was not asked, is a WRITE, or nobody reads a stream', async () => {
    const { request, run } = await setUp();
    const unasked = request(0, MIB, { digestAlgorithm: undefined });
    expect(await run(request(0, 16 * MIB), unasked, request(0, MIB, { opcode: 'write' }))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    const inProcess = await setUp({ transports: ['loopback', 'tcp'] });
    expect(await inProcess.run(inProcess.request(0, MIB))).toEqual([undefined]);
  });
});
