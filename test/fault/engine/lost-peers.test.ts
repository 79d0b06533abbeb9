import fs from 'node:fs';
import net from 'node:net';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { KIB, MIB } from '../../../src/core/units.ts';
import type { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import { codesOf, type Move, openEngine, outcomeOf, requestsOf, segmentAt, transfer } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import { type NodeChild, startNodeChild } from '../../support/node-child.ts';
import { allocateBytes, expectSameBytes, fillPattern, type TestMemory } from '../../support/patterned-memory.ts';
import { startServingChild } from '../../support/serving-child.ts';

const SIZE_BYTES = 32 * MIB;
/** Longer than a busy machine lets a process that is alive wait for its turn. */
const STALL_MS = 1500;
const LOST = [ErrorCode.PeerUnreachable, ErrorCode.TransferFailed];

interface Reader extends AsyncDisposable {
  readonly engine: TransferEngine;
  readonly local: TestMemory;
}

async function openReader(
  sizeBytes: number,
  options: { stallTimeoutMs?: number; connectTimeoutMs?: number } = {},
): Promise<Reader> {
  const engine = await openEngine(options);
  const local = allocateBytes(sizeBytes);
  await engine.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
  return {
    engine,
    local,
    async [Symbol.asyncDispose]() {
      await engine.close();
      await local.region.close();
    },
  };
}

function readsOf(local: bigint, remote: bigint, count: number, lengthBytes: number): Move[] {
  return Array.from({ length: count }, (_, index) => {
    const at = BigInt(index * lengthBytes);
    return { opcode: 'read', local: local + at, remote: remote + at, lengthBytes };
  });
}

/** A signal takes effect a little after it was sent. */
async function freeze(child: NodeChild): Promise<void> {
  child.freeze();
  const folder = `/proc/${child.pid}/task`;
  await eventually('the stop of every thread', () =>
    fs.readdirSync(folder).every((task) => /\) T /.test(fs.readFileSync(`${folder}/${task}/stat`, 'latin1'))),
  );
}

describe('a peer process that is', () => {
  test('killed in mid-transfer fails the transfer within seconds, and one that takes its place is found', async () => {
    await using reader = await openReader(SIZE_BYTES, { stallTimeoutMs: 60_000 });
    const { engine, local } = reader;
    await using peer = await startServingChild({ sizeBytes: SIZE_BYTES });
    const moves = readsOf(local.address, peer.address, 1, SIZE_BYTES);
    const batches = Array.from({ length: 40 }, () => engine.submitTransfer(requestsOf(peer.segment, moves)));
    await eventually('a batch', () => batches[0]?.tasks[0]?.status === 'COMPLETED', { pollMs: 1 });
    const killedAtMs = performance.now();
    await peer.child.kill();
    const outcomes = await Promise.all(batches.map(({ done }) => outcomeOf(done)));
    expect(performance.now() - killedAtMs).toBeLessThan(20_000); // and not after the stall timeout
    expect(LOST).toContain(outcomes.at(-1));
    expect(
      outcomes.filter((outcome) => outcome !== 'resolved' && !LOST.includes(outcome as 'P2P_TRANSFER_FAILED')),
    ).toEqual([]);

    await using next = await startServingChild({ sizeBytes: SIZE_BYTES, engine: { dataPort: peer.segment.port } });
    await transfer(engine, next.segment, ...readsOf(local.address, next.address, 1, SIZE_BYTES));
    const expected = Buffer.alloc(SIZE_BYTES);
    fillPattern(expected, 7);
    expectSameBytes(local.bytes, expected);
  });

  test.each([
    ['one large request', 1, SIZE_BYTES],
    ['16 requests', 16, 2 * MIB],
    ['1,000 small requests', 1000, 16 * KIB],
  ])('stopped (SIGSTOP) fails %s within a few stall timeouts', async (_name, count, lengthBytes) => {
    await using reader = await openReader(SIZE_BYTES, { stallTimeoutMs: STALL_MS });
    const { engine, local } = reader;
    await using peer = await startServingChild({ sizeBytes: SIZE_BYTES });
    const moves = readsOf(local.address, peer.address, count, lengthBytes);
    await transfer(engine, peer.segment, ...moves);
    await freeze(peer.child);
    const startMs = performance.now();
    const batch = engine.submitTransfer(requestsOf(peer.segment, moves));
    expect(LOST).toContain(await outcomeOf(batch.done));
    expect(performance.now() - startMs).toBeLessThan(8 * STALL_MS); // not one after the other
    expect(new Set(codesOf(batch)).size).toBeLessThanOrEqual(2);

    peer.child.thaw();
    await transfer(engine, peer.segment, ...moves);
  });

  test('stopped and then given up by an abort settles at once', async () => {
    await using reader = await openReader(MIB, { stallTimeoutMs: 60_000 });
    const { engine, local } = reader;
    await using peer = await startServingChild({ sizeBytes: MIB });
    const small = readsOf(local.address, peer.address, 3, 1000);
    await transfer(engine, peer.segment, ...small);
    await freeze(peer.child);
    const reason = new Error('enough');
    const batch = engine.submitTransfer(requestsOf(peer.segment, small), { signal: AbortSignal.timeout(100) });
    const other = engine.submitTransfer(requestsOf(peer.segment, small));
    expect(await outcomeOf(batch.done)).toMatchObject({ name: 'TimeoutError' });
    other.cancel(reason);
    expect(await outcomeOf(other.done)).toBe(reason);
    local.bytes.fill(0x33);
    peer.child.thaw();
    await using probe = allocateBytes(MIB);
    await engine.registerLocalMemory(probe.address, MIB, '*', { remoteAccess: 'none' });
    await transfer(engine, peer.segment, ...readsOf(probe.address, peer.address, 1, MIB));
    expect(local.bytes.every((byte) => byte === 0x33)).toBe(true);
    await engine.unregisterLocalMemory(probe.address);
  });

  test('slow but alive is not given up, however long it takes', async () => {
    await using reader = await openReader(300_000, { stallTimeoutMs: STALL_MS });
    const { engine, local } = reader;
    // Answers with 20 kB every 300 ms: less in a stall timeout than one wake-up is for.
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write(Buffer.from('000000005654434d', 'hex'));
        let sent = 0;
        const timer = setInterval(() => {
          socket.write(Buffer.alloc(20_000, 0x5a));
          sent += 20_000;
          if (sent === 300_000) clearInterval(timer);
        }, 300);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    await transfer(engine, segmentAt(port), {
      opcode: 'read',
      local: local.address,
      remote: 4096n,
      lengthBytes: 300_000,
    });
    expect(local.bytes.every((byte) => byte === 0x5a)).toBe(true);
    server.close();
  });
});

describe('a peer that', () => {
  const read = (local: TestMemory): Move => ({
    opcode: 'read',
    local: local.address,
    remote: 4096n,
    lengthBytes: 16 * MIB,
  });

  test('refuses connections is unreachable', async () => {
    await using reader = await openReader(16 * MIB);
    const done = transfer(reader.engine, segmentAt(1), read(reader.local));
    expect(await outcomeOf(done)).toBe(ErrorCode.PeerUnreachable);
  });

  test('has a name that does not resolve is unreachable', async () => {
    await using reader = await openReader(16 * MIB);
    const done = transfer(reader.engine, segmentAt(9, { host: 'no-such-host.invalid' }), read(reader.local));
    expect(await outcomeOf(done)).toBe(ErrorCode.PeerUnreachable);
  });

  test('does not answer is unreachable after the connect timeout', async () => {
    await using reader = await openReader(16 * MIB, { connectTimeoutMs: 400 });
    const startMs = performance.now();
    // A listener whose queue of connections is full drops what comes: nobody accepts.
    await using silent = await openSilentListener();
    const done = transfer(reader.engine, segmentAt(silent.port), read(reader.local));
    expect(LOST).toContain(await outcomeOf(done));
    expect(performance.now() - startMs).toBeLessThan(10_000); // the kernel's own: minutes
  });

  test('accepts and hangs up fails the transfer, however large', async () => {
    await using reader = await openReader(64 * MIB);
    let accepted = 0;
    const server = net.createServer((socket) => {
      accepted += 1;
      socket.on('error', () => {});
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const moves = readsOf(reader.local.address, 4096n, 2000, 32 * KIB);
    expect(LOST).toContain(await outcomeOf(transfer(reader.engine, segmentAt(port), ...moves)));
    expect(accepted).toBeLessThan(200);
    server.close();
  });

  test('has several addresses of which the first refuse is reached at the last', async () => {
    await using reader = await openReader(16 * MIB);
    await using peer = await openEngine();
    await using remote = allocateBytes(16 * MIB, 0x42);
    await peer.registerLocalMemory(remote.address, 16 * MIB);
    const { port } = await peer.openSegment(peer.segmentName);
    // The name of this machine leads to ::1 where there is IPv6, and to 127.0.0.1 always.
    const segment = segmentAt(port, { host: 'localhost' });
    await transfer(reader.engine, segment, { ...read(reader.local), remote: remote.address });
    expectSameBytes(reader.local.bytes, remote.bytes);
  });
});

/** Accepts nothing: the process that listens is stopped, and its queue is filled. */
async function openSilentListener(): Promise<AsyncDisposable & { readonly port: number }> {
  const child = startNodeChild(`
    import fs from 'node:fs';
import net from 'node:net';
    const server = net.createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log('port', server.address().port));
  `);
  const port = Number((await child.line('port')).split(' ')[1]);
  await freeze(child);
  const fillers = Array.from({ length: 4 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
  await eventually('a full queue', () => fillers.filter(({ readyState }) => readyState === 'open').length >= 2);
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of fillers) socket.destroy();
      await child.kill();
    },
  };
}
