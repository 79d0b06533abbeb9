import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { KIB, MIB } from '../../src/core/units.ts';
import type { LocalRange } from '../../src/engine/transfer.ts';
import { codesOf, type Move, outcomeOf, requestsOf, transfer } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import { allocateBytes, expectSameBytes, fillPattern, firstOtherThan } from '../support/patterned-memory.ts';
import { type ConnectedEngines, type TransportHarness, useConnectedEngines } from './transport-engines.ts';
import { describeQuiet } from './transport-quiet.ts';

/** Runs what `src/engine/transport/transport.ts` promises, through the engine. */
export function describeTransport(name: string, harness: TransportHarness): void {
  describe(name, () => {
    const engines = useConnectedEngines(harness);
    describeMoving(engines);
    describeRefusing(engines);
    describeQuiet(engines);
  });
}

function describeMoving(engines: ConnectedEngines): void {
  describe('moves bytes', () => {
    test.each([1, 7, 4095, 64 * KIB, 4 * MIB + 1, engines.bulkBytes(64)])('READ of %i bytes', async (sizeBytes) => {
      await using memory = await engines.pair(sizeBytes);
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [{ opcode: 'read', local: local.address, remote: remote.address, lengthBytes: sizeBytes }]),
      );
      await batch.done;
      expectSameBytes(local.bytes, remote.bytes);
      expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: sizeBytes, error: undefined }]);
    });

    test.each([1, 7, 4095, 64 * KIB, 4 * MIB + 1, engines.bulkBytes(64)])('WRITE of %i bytes', async (sizeBytes) => {
      await using memory = await engines.pair(sizeBytes, { remoteAccess: 'read-write' });
      const { local, remote } = memory;
      fillPattern(local.bytes, 11);
      const segment = await engines.client.openSegment(engines.server.segmentName);
      await transfer(engines.client, segment, {
        opcode: 'write',
        local: local.address,
        remote: remote.address,
        lengthBytes: sizeBytes,
      });
      expectSameBytes(remote.bytes, local.bytes);
    });

    test.each([
      ['thousands of tiny requests', 5000 / engines.shrink, 97],
      ['hundreds of requests of up to 40 kB', 600 / engines.shrink, 40_009],
      ['tens of requests of up to 1.5 MB', 40 / engines.shrink, 1_500_007],
      ['thousands of requests of up to 20 kB', 3000 / engines.shrink, 20_011],
    ])('%s of mixed sizes, READ and WRITE, in one batch', async (_name, count, maxBytes) => {
      const sizes = Array.from({ length: count }, (_, index) => 1 + ((index * 7919) % maxBytes));
      const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
      await using memory = await engines.pair(totalBytes, { remoteAccess: 'read-write' });
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
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const batch = engines.client.submitTransfer(requestsOf(segment, moves));
      await batch.done;
      expect(batch.tasks.filter(({ status }) => status !== 'COMPLETED')).toEqual([]);
      expectSameBytes(local.bytes, expected.local);
      expectSameBytes(remote.bytes, expected.remote);
    });

    test.each(['read', 'write'] as const)('%s of one remote range from or to many local ones', async (opcode) => {
      const sizes = Array.from({ length: 300 }, (_, index) => (index === 77 ? 5 * MIB : (index * 4801) % 9973));
      const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
      await using memory = await engines.pair(totalBytes, { remoteAccess: 'read-write' });
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
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const batch = engines.client.submitTransfer([
        { opcode, segment, remoteAddress: remote.address, lengthBytes: totalBytes, localRanges },
      ]);
      await batch.done;
      expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: totalBytes }]);
      expectSameBytes(target.bytes, expected);
    });

    test('a high-priority batch before what a bulk one has not moved', async () => {
      await using bulk = await engines.pair(engines.bulkBytes(16));
      await using small = await engines.pair(64 * 4096);
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const move = { opcode: 'read', local: bulk.local.address, remote: bulk.remote.address } as const;
      const lengthBytes = engines.bulkBytes(16);
      // As many bytes on the way where transfers are small: a fast machine would else be done with all of them.
      const large = Array.from({ length: (640 * MIB) / lengthBytes }, () => ({ ...move, lengthBytes }));
      const behind = engines.client.submitTransfer(requestsOf(segment, large));
      await eventually('the first bytes', () => (behind.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
      const pages = Array.from({ length: 64 }, (_, index): Move => {
        const at = BigInt(index * 4096);
        const [from, to] = [small.remote.address + at, small.local.address + at];
        return { opcode: 'read', local: to, remote: from, lengthBytes: 4096 };
      });
      await engines.client.submitTransfer(requestsOf(segment, pages), { priority: 'high' }).done;
      // In the order of submission none of the bulk would be left; how much is left depends on the machine.
      expect(behind.tasks.filter(({ status }) => status === 'PENDING').length).toBeGreaterThan(0);
      expectSameBytes(small.local.bytes, small.remote.bytes);
      await behind.done;
      expectSameBytes(bulk.local.bytes, bulk.remote.bytes);
    });

    test('several batches and both directions at once', async () => {
      const sizeBytes = engines.bulkBytes(16);
      await using forth = await engines.pair(sizeBytes);
      const there = allocateBytes(sizeBytes);
      const here = allocateBytes(sizeBytes);
      fillPattern(here.bytes, 17);
      await engines.server.registerLocalMemory(there.address, sizeBytes, '*', { remoteAccess: 'none' });
      await engines.client.registerLocalMemory(here.address, sizeBytes, '*', { isListed: false });
      const segments = await Promise.all([
        engines.client.openSegment(engines.server.segmentName),
        engines.server.openSegment(engines.client.segmentName),
      ]);
      const part = sizeBytes / 4;
      await Promise.all(
        [0, 1, 2, 3].flatMap((index) => {
          const at = BigInt(index * part);
          const [from, to] = segments;
          return [
            transfer(engines.client, from, {
              opcode: 'read',
              local: forth.local.address + at,
              remote: forth.remote.address + at,
              lengthBytes: part,
            }),
            transfer(engines.server, to, {
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
      await engines.server.unregisterLocalMemory(there.address);
      await engines.client.unregisterLocalMemory(here.address);
      await Promise.all([there.region.close(), here.region.close()]);
    });

    test('from an engine to itself', async () => {
      await using source = allocateBytes(MIB);
      await using target = allocateBytes(MIB);
      fillPattern(source.bytes, 19);
      await engines.server.registerLocalMemory(source.address, MIB);
      await engines.server.registerLocalMemory(target.address, MIB, '*', { remoteAccess: 'none' });
      const own = await engines.server.openSegment(engines.server.segmentName);
      await transfer(engines.server, own, {
        opcode: 'read',
        local: target.address,
        remote: source.address,
        lengthBytes: MIB,
      });
      expectSameBytes(target.bytes, source.bytes);
      await engines.server.unregisterLocalMemory(source.address);
      await engines.server.unregisterLocalMemory(target.address);
    });

    test('none, for a request of no bytes, wherever it points', async () => {
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [{ opcode: 'read', local: 1n, remote: 1n, lengthBytes: 0 }]),
      );
      await batch.done;
      expect(batch.tasks).toMatchObject([{ status: 'COMPLETED', transferredBytes: 0 }]);
    });
  });
}

function describeRefusing(engines: ConnectedEngines): void {
  describe('refuses', () => {
    test('local memory that is not registered, and lengths that are none', async () => {
      await using memory = await engines.pair(8192);
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const ask = (localAddress: bigint, lengthBytes: number): Move => ({
        opcode: 'read',
        local: localAddress,
        remote: remote.address,
        lengthBytes,
      });
      const batch = engines.client.submitTransfer(
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
      expect(batch.tasks.map(({ status }) => status)).toEqual([...new Array<string>(10).fill('INVALID'), 'COMPLETED']);
      expectSameBytes(local.bytes, remote.bytes);
    });

    test('remote memory that is not registered as one buffer, and serves the rest of the batch', async () => {
      await using memory = await engines.pair(12_288);
      const { local, remote } = memory;
      await engines.server.unregisterLocalMemory(remote.address);
      // Two buffers side by side, and a page behind them that is not registered.
      await engines.server.registerLocalMemory(remote.address, 4096, '*', { isListed: false });
      await engines.server.registerLocalMemory(remote.address + 4096n, 4096, '*', { isListed: false });
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const ask = (offset: bigint, lengthBytes: number): Move => ({
        opcode: 'read',
        local: local.address,
        remote: remote.address + offset,
        lengthBytes,
      });
      const bad = [ask(8192n, 1), ask(-1n, 1), ask(4095n, 2), ask(0n, 8192), ask(8191n, 2)];
      for (const move of bad) {
        const alone = engines.client.submitTransfer(requestsOf(segment, [move]));
        expect(await outcomeOf(alone.done)).toBe(ErrorCode.TransferRejected);
        expect(alone.tasks).toMatchObject([{ status: 'FAILED', transferredBytes: 0 }]);
      }
      expect(firstOtherThan(local.bytes, 0)).toBe(-1);
      const good = [ask(0n, 4096), ask(4096n, 4096)];
      const batch = engines.client.submitTransfer(requestsOf(segment, [...good, ...bad, ...good]));
      expect(await outcomeOf(batch.done)).toBe(ErrorCode.TransferRejected);
      expect(codesOf(batch)).toEqual([
        undefined,
        undefined,
        ...bad.map(() => ErrorCode.TransferRejected),
        undefined,
        undefined,
      ]);
      await engines.server.unregisterLocalMemory(remote.address);
      await engines.server.unregisterLocalMemory(remote.address + 4096n);
    });

    test.each([
      ['WRITE to readable memory', 'write', 'read'],
      ['WRITE to private memory', 'write', 'none'],
      ['READ of private memory', 'read', 'none'],
    ] as const)('%s', async (_name, opcode, remoteAccess) => {
      await using memory = await engines.pair(4 * MIB, { remoteAccess });
      const { local, remote } = memory;
      const before = Buffer.from(remote.bytes);
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const done = transfer(engines.client, segment, {
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
}
