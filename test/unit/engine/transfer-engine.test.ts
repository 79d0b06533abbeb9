import fs from 'node:fs';
import net from 'node:net';
import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import { MIB } from '../../../src/core/units.ts';
import { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { type Move, openEngine, outcomeOf, requestsOf, segmentAt, transfer } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import { allocateBytes, expectSameBytes } from '../../support/patterned-memory.ts';

interface Resources {
  readonly descriptors: number;
  readonly threads: number;
  readonly handles: number;
}

function countResources(): Resources {
  return {
    descriptors: fs.readdirSync('/proc/self/fd').length,
    threads: fs.readdirSync('/proc/self/task').length,
    handles: process.getActiveResourcesInfo().filter((name) => !/^(?:Timeout|Immediate)$/.test(name)).length,
  };
}

/** Whether no more is there than before; sockets take a turn or two to close, ended threads a moment to vanish. */
function isBackTo(before: ReturnType<typeof countResources>): boolean {
  const { descriptors, threads, handles } = countResources();
  return descriptors <= before.descriptors && threads <= before.threads && handles <= before.handles;
}

/** Established connections whose other end is that port. */
function countConnectionsTo(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const lines = fs.readFileSync('/proc/self/net/tcp', 'latin1').split('\n');
  return lines.filter((line) => line.trim().split(/\s+/)[2]?.endsWith(`:${hex}`) && line.includes(' 01 ')).length;
}

describe('TransferEngine', () => {
  describe('open()', () => {
    test.each([
      ['segmentName', { segmentName: '' }],
      ['dataPort', { dataPort: 65_536 }],
      ['dataPort', { dataPort: -1 }],
      ['ioWorkers', { ioWorkers: 0 }],
      ['ioWorkers', { ioWorkers: 1.5 }],
      ['connectionsPerPeer', { connectionsPerPeer: 65 }],
      ['maxInboundConnections', { maxInboundConnections: 0 }],
      ['connectTimeoutMs', { connectTimeoutMs: 0 }],
      ['stallTimeoutMs', { stallTimeoutMs: Number.NaN }],
      ['transports', { transports: [] }],
      ['transports', { transports: ['tcp', 'tcp'] as const }],
      ['transports', { transports: ['pigeon' as 'tcp'] }],
      ['nicPriorityMatrix', { nicPriorityMatrix: '{"cpu:0":[["no-such-card0"],[]]}' }],
    ])('refuses a bad %s: %j', async (argument, options) => {
      const error = await openEngine(options).catch((reason: unknown) => reason);
      expect(isP2PStoreError(error, ErrorCode.InvalidArgument) && error.context).toEqual({ argument });
    });

    test('refuses a data port that is taken, and leaves nothing behind', async () => {
      await (await openEngine()).close();
      const before = countResources();
      await using holder = await openEngine();
      expect(await outcomeOf(openEngine({ dataPort: holder.dataPort }))).toBe(ErrorCode.InvalidArgument);
      await holder.close();
      await eventually('the end of all', () => countResources().threads <= before.threads);
      await eventually('the end of all', () => isBackTo(before));
    });

    test('refuses the name of a live engine, and takes it when that has closed', async () => {
      const first = await openEngine();
      const { segmentName } = first;
      expect(await outcomeOf(openEngine({ segmentName }))).toBe(ErrorCode.SegmentInUse);
      await first.close();
      await using second = await openEngine({ segmentName });
      expect(second.segmentName).toBe(segmentName);
    });

    test('listens at the port that it is given', async () => {
      const probe = net.createServer();
      await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
      const { port } = probe.address() as net.AddressInfo;
      await new Promise((resolve) => probe.close(resolve));
      await using engine = await openEngine({ dataPort: port });
      expect(engine.dataPort).toBe(port);
      expect(await engine.openSegment(engine.segmentName)).toMatchObject({ host: '127.0.0.1', port });
    });
  });

  describe('registerLocalMemory()', () => {
    test('refuses overlaps, empty ranges, addresses out of range and unknown locations', async () => {
      await using engine = await openEngine();
      await engine.registerLocalMemory(8192, 4096);
      const codes = [
        engine.registerLocalMemory(8192, 4096),
        engine.registerLocalMemory(12_287n, 1),
        engine.registerLocalMemory(4096, 4097),
        engine.registerLocalMemory(16_384, 0),
        engine.registerLocalMemory(0, 1),
        engine.registerLocalMemory(2n ** 64n, 1),
        engine.registerLocalMemory(16_384, 4096, 'gpu'),
        engine.unregisterLocalMemory(8193),
      ].map(outcomeOf);
      expect(await Promise.all(codes)).toEqual([
        ...new Array(3).fill(ErrorCode.AddressOverlapped),
        ...new Array(5).fill(ErrorCode.InvalidArgument),
      ]);
      await Promise.all([engine.registerLocalMemory(4096, 4096), engine.registerLocalMemory(12_288, 4096)]);
      await engine.unregisterLocalMemory(8192);
      await engine.registerLocalMemory(8192n, 4096, 'cpu:0');
    });

    test('lists what peers may reach in the segment, and nothing else', async () => {
      await using engine = await openEngine();
      await engine.registerLocalMemory(4096, 10);
      await engine.registerLocalMemory(8192, 20, '*', { remoteAccess: 'read-write' });
      await engine.registerLocalMemory(16_384, 30, '*', { remoteAccess: 'none' });
      await engine.registerLocalMemory(32_768, 40, '*', { isListed: false });
      const listed = async (): Promise<unknown> =>
        (await engine.openSegment(engine.segmentName, { refresh: true })).buffers.map(({ address }) => address);
      expect(await listed()).toEqual([4096, 8192]);
      await engine.unregisterLocalMemory(4096);
      expect(await listed()).toEqual([8192]);
    });
  });

  describe('openSegment()', () => {
    test('says which name nobody goes by', async () => {
      await using engine = await openEngine();
      expect(await outcomeOf(engine.openSegment('nobody'))).toBe(ErrorCode.SegmentNotFound);
    });

    test('keeps the answer until it is asked to refresh', async () => {
      await using engine = await openEngine();
      const other = await openEngine();
      const { segmentName } = other;
      const known = await engine.openSegment(segmentName);
      await other.close();
      expect(await engine.openSegment(segmentName)).toBe(known);
      expect(await outcomeOf(engine.openSegment(segmentName, { refresh: true }))).toBe(ErrorCode.SegmentNotFound);
    });
  });

  describe('close()', () => {
    test('in mid-transfer leaves no descriptor, thread, handle or record', async () => {
      await (await openEngine()).close(); // what is loaded once stays
      await using local = allocateBytes(32 * MIB);
      await using remote = allocateBytes(32 * MIB);
      const before = countResources();
      const names: string[] = [];
      for (let round = 0; round < 5; round++) {
        const [client, server] = await Promise.all([openEngine(), openEngine()]);
        names.push(client.segmentName, server.segmentName);
        await client.registerLocalMemory(local.address, 32 * MIB, '*', { remoteAccess: 'none' });
        await server.registerLocalMemory(remote.address, 32 * MIB);
        const move: Move = { opcode: 'read', local: local.address, remote: remote.address, lengthBytes: 32 * MIB };
        const batch = client.submitTransfer(requestsOf(segmentAt(server.dataPort), [move, move, move]));
        if (round % 2 === 0)
          await eventually('bytes', () => (batch.tasks[0]?.transferredBytes ?? 0) > 0, { pollMs: 1 });
        await Promise.all([client.close(), server.close()]);
        await batch.done.catch(() => {});
        expect(batch.tasks.some(({ status }) => status === 'WAITING' || status === 'PENDING')).toBe(false);
      }
      await eventually('the end of all', () => isBackTo(before));
      await using metadata = await openMetadataStore('memory:engines');
      const { entries } = await metadata.list('mooncake/');
      expect(entries.filter(({ key }) => names.some((name) => key.endsWith(name)))).toEqual([]);
    });

    test('under a shower of connections leaves no descriptor behind', async () => {
      await (await openEngine()).close();
      const before = countResources();
      for (let round = 0; round < 10; round++) {
        const engine = await openEngine();
        const sockets = Array.from({ length: 60 }, () =>
          net.connect(engine.dataPort, '127.0.0.1').on('error', () => {}),
        );
        await new Promise((resolve) => sockets[0]?.once('connect', resolve));
        await engine.close();
        for (const socket of sockets) socket.destroy();
      }
      await eventually('the end of all', () => isBackTo(before));
    });
  });

  test('opens few connections to one peer, however much is asked of it at once', async () => {
    await using server = await openEngine();
    await using client = await openEngine({ connectionsPerPeer: 3 });
    await using local = allocateBytes(32 * MIB);
    await using remote = allocateBytes(32 * MIB, 0x21);
    await client.registerLocalMemory(local.address, 32 * MIB, '*', { remoteAccess: 'none' });
    await server.registerLocalMemory(remote.address, 32 * MIB);
    const segment = await client.openSegment(server.segmentName);
    let most = 0;
    let isDone = false;
    const batches = Array.from({ length: 20 }, (_, batch) =>
      client.submitTransfer(
        requestsOf(
          segment,
          Array.from({ length: 32 }, (_value, index): Move => {
            const at = BigInt(((index + batch) % 32) * MIB);
            return { opcode: 'read', local: local.address + at, remote: remote.address + at, lengthBytes: MIB };
          }),
        ),
      ),
    );
    const watching = (async () => {
      while (!isDone) {
        most = Math.max(most, countConnectionsTo(server.dataPort));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    await Promise.all(batches.map(({ done }) => done));
    isDone = true;
    await watching;
    expect(most).toBeGreaterThanOrEqual(2);
    expect(most).toBeLessThanOrEqual(3);
    expectSameBytes(local.bytes, remote.bytes);
  });

  test('reads from many peers at once', async () => {
    const count = 12;
    await using client = await openEngine();
    await using local = allocateBytes(count * MIB);
    await client.registerLocalMemory(local.address, count * MIB, '*', { remoteAccess: 'none' });
    const servers = await Promise.all(Array.from({ length: count }, () => openEngine({ ioWorkers: 1 })));
    const memories = servers.map((_, index) => allocateBytes(MIB, index + 1));
    await Promise.all(
      servers.map(async (server, index) => {
        const memory = memories[index];
        if (memory === undefined) return;
        await server.registerLocalMemory(memory.address, MIB);
        const segment = await client.openSegment(server.segmentName);
        const at = BigInt(index * MIB);
        const move = { opcode: 'read', local: local.address + at, remote: memory.address, lengthBytes: MIB } as const;
        await transfer(client, segment, move);
      }),
    );
    for (let index = 0; index < count; index++) {
      expectSameBytes(local.bytes.subarray(index * MIB, (index + 1) * MIB), Buffer.alloc(MIB, index + 1));
    }
    await Promise.all(servers.map((server) => server.close()));
    await Promise.all(memories.map(({ region }) => region.close()));
  });

  test('is closed by `await using`', async () => {
    let engine: TransferEngine;
    {
      await using scoped = await openEngine();
      engine = scoped;
    }
    expect(await outcomeOf(engine.openSegment('x'))).toBe(ErrorCode.Closed);
    expect(engine).toBeInstanceOf(TransferEngine);
  });
});
