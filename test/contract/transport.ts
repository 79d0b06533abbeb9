import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { KIB, MIB } from '../../src/core/units.ts';
import type { LocalRange } from '../../src/engine/transfer.ts';
import type { RegisterMemoryOptions, TransferEngine } from '../../src/engine/transfer-engine.ts';
import { codesOf, type Move, outcomeOf, requestsOf, transfer } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import {
  allocateBytes,
  expectSameBytes,
  fillPattern,
  firstOtherThan,
  type TestMemory,
} from '../support/patterned-memory.ts';

/** What the suite needs of a data path: engines that reach each other over it, and nothing else. */
export interface TransportHarness {
  open(): Promise<TransferEngine>;
  /** Divides what is large, for a way that is slow. A power of two up to 16; default 1. */
  readonly shrink?: number;
}

interface Pair extends AsyncDisposable {
  /** Registered with the client. */
  readonly local: TestMemory;
  /** Registered with the server. */
  readonly remote: TestMemory;
}

/** Runs what `src/engine/transport/transport.ts` promises, through the engine. */
export function describeTransport(name: string, harness: TransportHarness): void {
  const { shrink = 1 } = harness;
  const bulkBytes = (mebibytes: number): number => (mebibytes * MIB) / shrink;

  describe(name, () => {
    let client: TransferEngine;
    let server: TransferEngine;

    beforeAll(async () => {
      [client, server] = await Promise.all([harness.open(), harness.open()]);
    });
    afterAll(async () => {
      await Promise.all([client?.close(), server?.close()]);
    });

    async function pair(sizeBytes: number, options: RegisterMemoryOptions = {}): Promise<Pair> {
      const local = allocateBytes(sizeBytes);
      const remote = allocateBytes(sizeBytes);
      fillPattern(remote.bytes, 7);
      await client.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
      await server.registerLocalMemory(remote.address, sizeBytes, '*', { isListed: false, ...options });
      return {
        local,
        remote,
        async [Symbol.asyncDispose]() {
          await client.unregisterLocalMemory(local.address);
          await server.unregisterLocalMemory(remote.address).catch(() => {}); // the test may have done so
          await Promise.all([local.region.close(), remote.region.close()]);
        },
      };
    }

    describe('moves bytes', () => {
      test.each([1, 7, 4095, 64 * KIB, 4 * MIB + 1, bulkBytes(64)])('READ of %i bytes', async (sizeBytes) => {
        await using memory = await pair(sizeBytes);
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const batch = client.submitTransfer(
          requestsOf(segment, [
            { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: sizeBytes },
          ]),
        );
        await batch.done;
        expectSameBytes(local.bytes, remote.bytes);
        expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: sizeBytes, error: undefined }]);
      });

      test.each([1, 7, 4095, 64 * KIB, 4 * MIB + 1, bulkBytes(64)])('WRITE of %i bytes', async (sizeBytes) => {
        await using memory = await pair(sizeBytes, { remoteAccess: 'read-write' });
        const { local, remote } = memory;
        fillPattern(local.bytes, 11);
        const segment = await client.openSegment(server.segmentName);
        await transfer(client, segment, {
          opcode: 'write',
          local: local.address,
          remote: remote.address,
          lengthBytes: sizeBytes,
        });
        expectSameBytes(remote.bytes, local.bytes);
      });

      test.each([
        ['thousands of tiny requests', 5000 / shrink, 97],
        ['hundreds of requests of up to 40 kB', 600 / shrink, 40_009],
        ['tens of requests of up to 1.5 MB', 40 / shrink, 1_500_007],
        ['thousands of requests of up to 20 kB', 3000 / shrink, 20_011],
      ])('%s of mixed sizes, READ and WRITE, in one batch', async (_name, count, maxBytes) => {
        const sizes = Array.from({ length: count }, (_, index) => 1 + ((index * 7919) % maxBytes));
        const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
        await using memory = await pair(totalBytes, { remoteAccess: 'read-write' });
        const { local, remote } = memory;
        fillPattern(local.bytes, 13);
        const moves: Move[] = [];
        const expected = { local: Buffer.from(local.bytes), remote: Buffer.from(remote.bytes) };
        let offset = 0;
        for (const [index, lengthBytes] of sizes.entries()) {
          const opcode = index % 3 === 1 ? 'write' : 'read';
          moves.push({
            opcode,
            local: local.address + BigInt(offset),
            remote: remote.address + BigInt(offset),
            lengthBytes,
          });
          const [target, source] = opcode === 'read' ? [expected.local, remote] : [expected.remote, local];
          target.set(source.bytes.subarray(offset, offset + lengthBytes), offset);
          offset += lengthBytes;
        }
        const segment = await client.openSegment(server.segmentName);
        const batch = client.submitTransfer(requestsOf(segment, moves));
        await batch.done;
        expect(batch.tasks.filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
        expectSameBytes(local.bytes, expected.local);
        expectSameBytes(remote.bytes, expected.remote);
      });

      test.each(['read', 'write'] as const)('%s of one remote range from or to many local ones', async (opcode) => {
        const sizes = Array.from({ length: 300 }, (_, index) => (index === 77 ? 5 * MIB : (index * 4801) % 9973));
        const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
        await using memory = await pair(totalBytes, { remoteAccess: 'read-write' });
        const { local, remote } = memory;
        fillPattern(local.bytes, 23);
        const [source, target] = opcode === 'read' ? [remote, local] : [local, remote];
        const expected = Buffer.from(target.bytes);
        // The local ranges lie in the opposite order of their bytes.
        const localRanges: LocalRange[] = [];
        let offset = 0;
        for (const lengthBytes of sizes) {
          const at = totalBytes - offset - lengthBytes;
          localRanges.push({ address: local.address + BigInt(at), lengthBytes });
          const [from, to] = opcode === 'read' ? [offset, at] : [at, offset];
          expected.set(source.bytes.subarray(from, from + lengthBytes), to);
          offset += lengthBytes;
        }
        const segment = await client.openSegment(server.segmentName);
        const batch = client.submitTransfer([
          { opcode, segment, remoteAddress: remote.address, lengthBytes: totalBytes, localRanges },
        ]);
        await batch.done;
        expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: totalBytes }]);
        expectSameBytes(target.bytes, expected);
      });

      test('a high-priority batch before what a bulk one has not moved', async () => {
        await using bulk = await pair(bulkBytes(16));
        await using small = await pair(64 * 4096);
        const segment = await client.openSegment(server.segmentName);
        const move = { opcode: 'read', local: bulk.local.address, remote: bulk.remote.address } as const;
        const large = Array.from({ length: 40 }, () => ({ ...move, lengthBytes: bulkBytes(16) }));
        const behind = client.submitTransfer(requestsOf(segment, large));
        await eventually('the first bytes', () => (behind.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        const pages = Array.from({ length: 64 }, (_, index): Move => {
          const at = BigInt(index * 4096);
          const [from, to] = [small.remote.address + at, small.local.address + at];
          return { opcode: 'read', local: to, remote: from, lengthBytes: 4096 };
        });
        await client.submitTransfer(requestsOf(segment, pages), { priority: 'high' }).done;
        expect(behind.tasks.filter(({ status }) => status === 'PENDING').length).toBeGreaterThan(large.length / 2);
        expectSameBytes(small.local.bytes, small.remote.bytes);
        await behind.done;
        expectSameBytes(bulk.local.bytes, bulk.remote.bytes);
      });

      test('several batches and both directions at once', async () => {
        const sizeBytes = bulkBytes(16);
        await using forth = await pair(sizeBytes);
        const there = allocateBytes(sizeBytes);
        const here = allocateBytes(sizeBytes);
        fillPattern(here.bytes, 17);
        await server.registerLocalMemory(there.address, sizeBytes, '*', { remoteAccess: 'none' });
        await client.registerLocalMemory(here.address, sizeBytes, '*', { isListed: false });
        const segments = await Promise.all([
          client.openSegment(server.segmentName),
          server.openSegment(client.segmentName),
        ]);
        const part = sizeBytes / 4;
        await Promise.all(
          [0, 1, 2, 3].flatMap((index) => {
            const at = BigInt(index * part);
            const [from, to] = segments;
            return [
              transfer(client, from, {
                opcode: 'read',
                local: forth.local.address + at,
                remote: forth.remote.address + at,
                lengthBytes: part,
              }),
              transfer(server, to, {
                opcode: 'read',
                local: there.address + at,
                remote: here.address + at,
                lengthBytes: part,
              }),
            ];
          }),
        );
        expectSameBytes(forth.local.bytes, forth.remote.bytes);
        expectSameBytes(there.bytes, here.bytes);
        await server.unregisterLocalMemory(there.address);
        await client.unregisterLocalMemory(here.address);
        await Promise.all([there.region.close(), here.region.close()]);
      });

      test('from an engine to itself', async () => {
        await using source = allocateBytes(MIB);
        await using target = allocateBytes(MIB);
        fillPattern(source.bytes, 19);
        await server.registerLocalMemory(source.address, MIB);
        await server.registerLocalMemory(target.address, MIB, '*', { remoteAccess: 'none' });
        const own = await server.openSegment(server.segmentName);
        await transfer(server, own, {
          opcode: 'read',
          local: target.address,
          remote: source.address,
          lengthBytes: MIB,
        });
        expectSameBytes(target.bytes, source.bytes);
        await server.unregisterLocalMemory(source.address);
        await server.unregisterLocalMemory(target.address);
      });

      test('none, for a request of no bytes, wherever it points', async () => {
        const segment = await client.openSegment(server.segmentName);
        const batch = client.submitTransfer(
          requestsOf(segment, [{ opcode: 'read', local: 1n, remote: 1n, lengthBytes: 0 }]),
        );
        await batch.done;
        expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: 0 }]);
      });
    });

    describe('refuses', () => {
      test('local memory that is not registered, and lengths that are none', async () => {
        await using memory = await pair(8192);
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const ask = (localAddress: bigint, lengthBytes: number): Move => ({
          opcode: 'read',
          local: localAddress,
          remote: remote.address,
          lengthBytes,
        });
        const batch = client.submitTransfer(
          requestsOf(segment, [
            ask(remote.address, 1),
            ask(local.address - 1n, 1),
            ask(local.address + 8192n, 1),
            ask(local.address + 1n, 8192),
            ask(2n ** 63n, 1),
            ask(local.address, -1),
            ask(local.address, 1.5),
            ask(local.address, Number.NaN),
            { opcode: 'read', local: local.address, remote: 0n, lengthBytes: 1 },
            { opcode: 'read', local: local.address, remote: 2n ** 64n, lengthBytes: 1 },
            ask(local.address, 8192),
          ]),
        );
        expect(await outcomeOf(batch.done)).toBe(ErrorCode.InvalidArgument);
        expect(batch.tasks.map(({ status }) => status)).toEqual([
          ...new Array<string>(10).fill('INVALID'),
          'COMPLETED',
        ]);
        expectSameBytes(local.bytes, remote.bytes);
      });

      test('remote memory that is not registered as one buffer, and serves the rest of the batch', async () => {
        await using memory = await pair(12_288);
        const { local, remote } = memory;
        await server.unregisterLocalMemory(remote.address);
        // Two buffers side by side, and a page behind them that is not registered.
        await server.registerLocalMemory(remote.address, 4096, '*', { isListed: false });
        await server.registerLocalMemory(remote.address + 4096n, 4096, '*', { isListed: false });
        const segment = await client.openSegment(server.segmentName);
        const ask = (offset: bigint, lengthBytes: number): Move => ({
          opcode: 'read',
          local: local.address,
          remote: remote.address + offset,
          lengthBytes,
        });
        const bad = [ask(8192n, 1), ask(-1n, 1), ask(4095n, 2), ask(0n, 8192), ask(8191n, 2)];
        for (const move of bad) {
          const alone = client.submitTransfer(requestsOf(segment, [move]));
          expect(await outcomeOf(alone.done)).toBe(ErrorCode.TransferRejected);
          expect(alone.tasks).toMatchObject([{ status: 'FAILED', transferredBytes: 0 }]);
        }
        expect(firstOtherThan(local.bytes, 0)).toBe(-1);
        const good = [ask(0n, 4096), ask(4096n, 4096)];
        const batch = client.submitTransfer(requestsOf(segment, [...good, ...bad, ...good]));
        expect(await outcomeOf(batch.done)).toBe(ErrorCode.TransferRejected);
        expect(codesOf(batch)).toEqual([
          undefined,
          undefined,
          ...bad.map(() => ErrorCode.TransferRejected),
          undefined,
          undefined,
        ]);
        await server.unregisterLocalMemory(remote.address);
        await server.unregisterLocalMemory(remote.address + 4096n);
      });

      test.each([
        ['WRITE to readable memory', 'write', 'read'],
        ['WRITE to private memory', 'write', 'none'],
        ['READ of private memory', 'read', 'none'],
      ] as const)('%s', async (_name, opcode, remoteAccess) => {
        await using memory = await pair(4 * MIB, { remoteAccess });
        const { local, remote } = memory;
        const before = Buffer.from(remote.bytes);
        const segment = await client.openSegment(server.segmentName);
        const done = transfer(client, segment, {
          opcode,
          local: local.address,
          remote: remote.address,
          lengthBytes: 4 * MIB,
        });
        expect(await outcomeOf(done)).toBe(ErrorCode.TransferRejected);
        expectSameBytes(remote.bytes, before);
        expect(firstOtherThan(local.bytes, 0)).toBe(-1);
      });
    });

    describe('stays quiet', () => {
      test('a peer gets none of the bytes that memory holds after it was unregistered', async () => {
        const sizeBytes = bulkBytes(64);
        const segment = await client.openSegment(server.segmentName);
        for (let round = 0; round < 3; round++) {
          await using memory = await pair(sizeBytes);
          const { local, remote } = memory;
          remote.bytes.fill(0x11);
          const batch = client.submitTransfer(
            requestsOf(segment, [
              { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: sizeBytes },
            ]),
          );
          await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
          await server.unregisterLocalMemory(remote.address);
          remote.bytes.fill(0xee);
          expect([ErrorCode.TransferRejected, ErrorCode.TransferFailed, 'resolved']).toContain(
            await outcomeOf(batch.done),
          );
          expect(local.bytes.indexOf(0xee)).toBe(-1);
        }
      });

      test('memory that was unregistered is not written to by a peer any more', async () => {
        const sizeBytes = bulkBytes(64);
        await using memory = await pair(sizeBytes, { remoteAccess: 'read-write' });
        const { local, remote } = memory;
        local.bytes.fill(0xee);
        const segment = await client.openSegment(server.segmentName);
        const batch = client.submitTransfer(
          requestsOf(segment, [
            { opcode: 'write', local: local.address, remote: remote.address, lengthBytes: sizeBytes },
          ]),
        );
        await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        await server.unregisterLocalMemory(remote.address);
        remote.bytes.fill(0x33);
        await outcomeOf(batch.done);
        expect(firstOtherThan(remote.bytes, 0x33)).toBe(-1);
      });

      test.each([
        ['few large', 1, bulkBytes(64)],
        ['many small', 2000 / shrink, 32 * KIB],
      ])('after the cancel of %s READs nothing writes to their memory', async (_name, count, lengthBytes) => {
        const sizeBytes = bulkBytes(64);
        await using memory = await pair(sizeBytes);
        await using probe = await pair(8 * MIB);
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const moves = Array.from({ length: count }, (_, index): Move => {
          const at = BigInt(index * lengthBytes);
          return { opcode: 'read', local: local.address + at, remote: remote.address + at, lengthBytes };
        });
        for (let round = 0; round < 4; round++) {
          const batch = client.submitTransfer(requestsOf(segment, moves));
          const reason = new Error('enough');
          if (round % 2 === 0) {
            await eventually('the first bytes', () => batch.tasks.some((task) => task.transferredBytes > 0), {
              pollMs: 1,
            });
          }
          batch.cancel(reason);
          expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
          local.bytes.fill(0x33);
          await transfer(client, segment, {
            opcode: 'read',
            local: probe.local.address,
            remote: probe.remote.address,
            lengthBytes: 8 * MIB,
          });
          expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
        }
      });

      test('after the cancel of thousands of READs and WRITEs, some of them under way, both memories stay as they are', async () => {
        const count = Math.floor(6000 / shrink);
        const lengthBytes = 8 * KIB;
        await using memory = await pair(2 * count * lengthBytes, { remoteAccess: 'read-write' });
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const moves = Array.from({ length: 2 * count }, (_, index): Move => {
          const at = BigInt(index * lengthBytes);
          const opcode = index % 2 === 0 ? 'read' : 'write';
          return { opcode, local: local.address + at, remote: remote.address + at, lengthBytes };
        });
        const batch = client.submitTransfer(requestsOf(segment, moves));
        await eventually('the first', () => batch.tasks.some(({ status }) => status === 'COMPLETED'), { pollMs: 1 });
        const reason = new Error('enough');
        batch.cancel(reason);
        expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
        expect(batch.tasks.filter(({ status }) => status !== 'COMPLETED' && status !== 'CANCELED')).toEqual([]);
        local.bytes.fill(0x33);
        await using probe = await pair(MIB);
        await transfer(client, segment, {
          opcode: 'read',
          local: probe.local.address,
          remote: probe.remote.address,
          lengthBytes: MIB,
        });
        expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
      });

      test('a signal that fired before the call moves nothing', async () => {
        await using memory = await pair(MIB);
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const reason = new Error('too late');
        const batch = client.submitTransfer(
          requestsOf(segment, [{ opcode: 'read', local: local.address, remote: remote.address, lengthBytes: MIB }]),
          { signal: AbortSignal.abort(reason) },
        );
        expect(await outcomeOf(batch.done)).toBe(reason);
        expect(batch.tasks).toMatchObject([{ status: 'CANCELED' }]);
        local.bytes.fill(0x33);
        await using probe = await pair(MIB);
        await transfer(client, segment, {
          opcode: 'read',
          local: probe.local.address,
          remote: probe.remote.address,
          lengthBytes: MIB,
        });
        expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
      });

      test('an abort while bytes move ends the batch with its reason', async () => {
        await using memory = await pair(bulkBytes(64));
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const controller = new AbortController();
        const reason = new Error('stop');
        const batch = client.submitTransfer(
          requestsOf(segment, [
            { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: bulkBytes(64) },
          ]),
          { signal: controller.signal },
        );
        await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        controller.abort(reason);
        expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
      });

      test('unregistering local memory cancels the own transfers that use it, also those submitted meanwhile', async () => {
        await using memory = await pair(bulkBytes(32));
        const { local, remote } = memory;
        const segment = await client.openSegment(server.segmentName);
        const move = {
          opcode: 'read',
          local: local.address,
          remote: remote.address,
          lengthBytes: bulkBytes(32),
        } as const;
        const first = client.submitTransfer(requestsOf(segment, [move]));
        const unregistered = client.unregisterLocalMemory(local.address);
        const second = client.submitTransfer(requestsOf(segment, [move]));
        await unregistered;
        local.bytes.fill(0x33);
        await Promise.all([outcomeOf(first.done), outcomeOf(second.done)]);
        const third = client.submitTransfer(requestsOf(segment, [move]));
        expect(await outcomeOf(third.done)).toBe(ErrorCode.InvalidArgument);
        expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
        await client.registerLocalMemory(local.address, bulkBytes(32), '*', { remoteAccess: 'none' });
      });

      test('close() settles what runs and leaves its memory quiet', async () => {
        await using memory = await pair(bulkBytes(64));
        const { remote } = memory;
        await using target = allocateBytes(bulkBytes(64));
        const reader = await harness.open();
        await reader.registerLocalMemory(target.address, bulkBytes(64), '*', { remoteAccess: 'none' });
        const segment = await reader.openSegment(server.segmentName);
        const batch = reader.submitTransfer(
          requestsOf(segment, [
            { opcode: 'read', local: target.address, remote: remote.address, lengthBytes: bulkBytes(64) },
          ]),
        );
        await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        await Promise.all([reader.close(), reader.close()]);
        expect([ErrorCode.Closed, 'resolved']).toContain(await outcomeOf(batch.done));
        target.bytes.fill(0x33);
        const after = reader.submitTransfer(
          requestsOf(segment, [{ opcode: 'read', local: target.address, remote: remote.address, lengthBytes: 1 }]),
        );
        expect(await outcomeOf(after.done)).toBe(ErrorCode.Closed);
        expect(await outcomeOf(reader.registerLocalMemory(4096, 1))).toBe(ErrorCode.Closed);
        expect(await outcomeOf(reader.openSegment(server.segmentName))).toBe(ErrorCode.Closed);
        expect(firstOtherThan(target.bytes, 0x33)).toBe(-1);
      });

      test('a peer that closes in mid-transfer is an error', async () => {
        const source = await harness.open();
        await using remote = allocateBytes(bulkBytes(64), 0x11);
        await using local = allocateBytes(bulkBytes(64));
        await source.registerLocalMemory(remote.address, bulkBytes(64));
        await client.registerLocalMemory(local.address, bulkBytes(64), '*', { remoteAccess: 'none' });
        const segment = await client.openSegment(source.segmentName);
        const batch = client.submitTransfer(
          requestsOf(segment, [
            { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: bulkBytes(64) },
          ]),
        );
        await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        await source.close();
        remote.bytes.fill(0xee);
        expect([ErrorCode.PeerUnreachable, ErrorCode.TransferFailed, ErrorCode.TransferRejected, 'resolved']).toContain(
          await outcomeOf(batch.done),
        );
        expect(local.bytes.indexOf(0xee)).toBe(-1);
        await client.unregisterLocalMemory(local.address);
      });
    });
  });
}
