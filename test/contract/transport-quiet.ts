import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import { KIB, MIB } from '../../src/core/units.ts';
import type { Segment } from '../../src/engine/segment.ts';
import { type Move, outcomeOf, requestsOf, transfer } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import { allocateBytes, firstOtherThan } from '../support/patterned-memory.ts';
import type { ConnectedEngines } from './transport-engines.ts';

/** That nothing of before writes to the bytes any more, while what comes after it is transferred. */
async function expectUnwritten(engines: ConnectedEngines, segment: Segment, bytes: Uint8Array): Promise<void> {
  bytes.fill(0x33);
  await using probe = await engines.pair(MIB);
  const [local, remote] = [probe.local.address, probe.remote.address];
  await transfer(engines.client, segment, { opcode: 'read', local, remote, lengthBytes: MIB });
  expect(firstOtherThan(bytes, 0x33)).toBe(-1);
}

/** When memory is left alone: after it was unregistered, after a cancel, after a close. */
export function describeQuiet(engines: ConnectedEngines): void {
  describe('stays quiet', () => {
    test('a peer gets none of the bytes that memory holds after it was unregistered', async () => {
      const sizeBytes = engines.bulkBytes(64);
      const segment = await engines.client.openSegment(engines.server.segmentName);
      for (let round = 0; round < 3; round++) {
        await using memory = await engines.pair(sizeBytes);
        const { local, remote } = memory;
        remote.bytes.fill(0x11);
        const batch = engines.client.submitTransfer(
          requestsOf(segment, [
            { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: sizeBytes },
          ]),
        );
        await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        await engines.server.unregisterLocalMemory(remote.address);
        remote.bytes.fill(0xee);
        expect([ErrorCode.TransferRejected, ErrorCode.TransferFailed, 'resolved']).toContain(
          await outcomeOf(batch.done),
        );
        expect(local.bytes.indexOf(0xee)).toBe(-1);
      }
    });

    test('memory that was unregistered is not written to by a peer any more', async () => {
      const sizeBytes = engines.bulkBytes(64);
      await using memory = await engines.pair(sizeBytes, { remoteAccess: 'read-write' });
      const { local, remote } = memory;
      local.bytes.fill(0xee);
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [
          { opcode: 'write', local: local.address, remote: remote.address, lengthBytes: sizeBytes },
        ]),
      );
      await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
      await engines.server.unregisterLocalMemory(remote.address);
      remote.bytes.fill(0x33);
      await outcomeOf(batch.done);
      expect(firstOtherThan(remote.bytes, 0x33)).toBe(-1);
    });

    test.each([
      ['few large', 1, engines.bulkBytes(64)],
      ['many small', 2000 / engines.shrink, 32 * KIB],
    ])('after the cancel of %s READs nothing writes to their memory', async (_name, count, lengthBytes) => {
      const sizeBytes = engines.bulkBytes(64);
      await using memory = await engines.pair(sizeBytes);
      await using probe = await engines.pair(8 * MIB);
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const moves = Array.from({ length: count }, (_, index): Move => {
        const at = BigInt(index * lengthBytes);
        return { opcode: 'read', local: local.address + at, remote: remote.address + at, lengthBytes };
      });
      for (let round = 0; round < 4; round++) {
        const batch = engines.client.submitTransfer(requestsOf(segment, moves));
        const reason = new Error('enough');
        if (round % 2 === 0) {
          await eventually('the first bytes', () => batch.tasks.some((task) => task.transferredBytes > 0), {
            pollMs: 1,
          });
        }
        batch.cancel(reason);
        expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
        local.bytes.fill(0x33);
        await transfer(engines.client, segment, {
          opcode: 'read',
          local: probe.local.address,
          remote: probe.remote.address,
          lengthBytes: 8 * MIB,
        });
        expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
      }
    });

    test('after the cancel of thousands of READs and WRITEs, some of them under way, both memories stay as they are', async () => {
      const count = Math.floor(6000 / engines.shrink);
      const lengthBytes = 8 * KIB;
      await using memory = await engines.pair(2 * count * lengthBytes, { remoteAccess: 'read-write' });
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const moves = Array.from({ length: 2 * count }, (_, index): Move => {
        const at = BigInt(index * lengthBytes);
        const opcode = index % 2 === 0 ? 'read' : 'write';
        return { opcode, local: local.address + at, remote: remote.address + at, lengthBytes };
      });
      const batch = engines.client.submitTransfer(requestsOf(segment, moves));
      await eventually('the first', () => batch.tasks.some(({ status }) => status === 'COMPLETED'), { pollMs: 1 });
      const reason = new Error('enough');
      batch.cancel(reason);
      expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
      expect(batch.tasks.filter(({ status }) => status !== 'COMPLETED' && status !== 'CANCELED')).toEqual([]);
      await expectUnwritten(engines, segment, local.bytes);
    });

    test('a signal that fired before the call moves nothing', async () => {
      await using memory = await engines.pair(MIB);
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const reason = new Error('too late');
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [{ opcode: 'read', local: local.address, remote: remote.address, lengthBytes: MIB }]),
        { signal: AbortSignal.abort(reason) },
      );
      expect(await outcomeOf(batch.done)).toBe(reason);
      expect(batch.tasks).toMatchObject([{ status: 'CANCELED' }]);
      await expectUnwritten(engines, segment, local.bytes);
    });

    test('an abort while bytes move ends the batch with its reason', async () => {
      await using memory = await engines.pair(engines.bulkBytes(64));
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const controller = new AbortController();
      const reason = new Error('stop');
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [
          { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: engines.bulkBytes(64) },
        ]),
        { signal: controller.signal },
      );
      await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
      controller.abort(reason);
      expect([reason, 'resolved']).toContain(await outcomeOf(batch.done));
    });

    test('unregistering local memory cancels the own transfers that use it, also those submitted meanwhile', async () => {
      await using memory = await engines.pair(engines.bulkBytes(32));
      const { local, remote } = memory;
      const segment = await engines.client.openSegment(engines.server.segmentName);
      const move = {
        opcode: 'read',
        local: local.address,
        remote: remote.address,
        lengthBytes: engines.bulkBytes(32),
      } as const;
      const first = engines.client.submitTransfer(requestsOf(segment, [move]));
      const unregistered = engines.client.unregisterLocalMemory(local.address);
      const second = engines.client.submitTransfer(requestsOf(segment, [move]));
      await unregistered;
      local.bytes.fill(0x33);
      await Promise.all([outcomeOf(first.done), outcomeOf(second.done)]);
      const third = engines.client.submitTransfer(requestsOf(segment, [move]));
      expect(await outcomeOf(third.done)).toBe(ErrorCode.InvalidArgument);
      expect(firstOtherThan(local.bytes, 0x33)).toBe(-1);
      await engines.client.registerLocalMemory(local.address, engines.bulkBytes(32), '*', { remoteAccess: 'none' });
    });

    test('close() settles what runs and leaves its memory quiet', async () => {
      await using memory = await engines.pair(engines.bulkBytes(64));
      const { remote } = memory;
      await using target = allocateBytes(engines.bulkBytes(64));
      const reader = await engines.open();
      await reader.registerLocalMemory(target.address, engines.bulkBytes(64), '*', { remoteAccess: 'none' });
      const segment = await reader.openSegment(engines.server.segmentName);
      const batch = reader.submitTransfer(
        requestsOf(segment, [
          { opcode: 'read', local: target.address, remote: remote.address, lengthBytes: engines.bulkBytes(64) },
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
      expect(await outcomeOf(reader.openSegment(engines.server.segmentName))).toBe(ErrorCode.Closed);
      expect(firstOtherThan(target.bytes, 0x33)).toBe(-1);
    });

    test('a peer that closes in mid-transfer is an error', async () => {
      const source = await engines.open();
      await using remote = allocateBytes(engines.bulkBytes(64), 0x11);
      await using local = allocateBytes(engines.bulkBytes(64));
      await source.registerLocalMemory(remote.address, engines.bulkBytes(64));
      await engines.client.registerLocalMemory(local.address, engines.bulkBytes(64), '*', { remoteAccess: 'none' });
      const segment = await engines.client.openSegment(source.segmentName);
      const batch = engines.client.submitTransfer(
        requestsOf(segment, [
          { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: engines.bulkBytes(64) },
        ]),
      );
      await eventually('the first bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
      await source.close();
      remote.bytes.fill(0xee);
      expect([ErrorCode.PeerUnreachable, ErrorCode.TransferFailed, ErrorCode.TransferRejected, 'resolved']).toContain(
        await outcomeOf(batch.done),
      );
      expect(local.bytes.indexOf(0xee)).toBe(-1);
      await engines.client.unregisterLocalMemory(local.address);
    });
  });
}
