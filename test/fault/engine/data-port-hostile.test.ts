import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import type net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MIB } from '../../../src/core/units.ts';
import type { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import { openEngine, outcomeOf, segmentAt, transfer } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';
import {
  allocateBytes,
  expectSameBytes,
  fillPattern,
  firstOtherThan,
  type TestMemory,
} from '../../support/patterned-memory.ts';
import { connectRaw, headerOf, type RawClient } from '../../support/raw-client.ts';
import { startServingChild } from '../../support/serving-child.ts';

const BUFFER_BYTES = 256 * 1024;
/** What lies around the registered buffer. */
const SECRET = 0xa7;
const GUARD_BYTES = 64 * 1024;
/** One such byte may come back from an address that a mutated WRITE took for its body; three are a leak. */
const LEAK = Buffer.alloc(3, SECRET);

/** Small numbers from a seed; the same on every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const EDGES = [
  0n,
  1n,
  2n,
  8n,
  24n,
  4095n,
  4096n,
  65_536n,
  BigInt(BUFFER_BYTES),
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
];

/** One to three requests whose lengths and addresses lie near the edges of everything. */
function mutatedRequests(random: (below: number) => number, bufferAddress: bigint): Buffer[] {
  const near = (): bigint => (EDGES[random(EDGES.length)] ?? 0n) * (random(2) === 0 ? 1n : -1n) + BigInt(random(5) - 2);
  const sometimes = (value: bigint): bigint => (random(2) === 0 ? value : 0n);
  const parts: Buffer[] = [];
  for (let request = 0; request <= random(3); request++) {
    const header = Buffer.alloc(24);
    header.writeBigUInt64LE(BigInt.asUintN(64, sometimes(BigInt(BUFFER_BYTES)) + near()), 0);
    header.writeBigUInt64LE(BigInt.asUintN(64, bufferAddress + sometimes(BigInt(BUFFER_BYTES)) + near()), 8);
    header[16] = [0, 1, 0x80, 0x81, random(256)][random(5)] ?? 0;
    if (random(10) === 0) header[random(24)] = random(SECRET);
    parts.push(header, Buffer.alloc(random(4) === 0 ? random(5000) : 0, random(127)));
  }
  return parts;
}

/** Opens a connection for each, and does something rude with it. */
async function flood(port: number, count: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: count }, () => connectRaw(port)));
  for (const [index, { socket }] of clients.entries()) {
    if (index % 3 === 0) socket.write(Buffer.alloc(index % 24, 0x01));
    if (index % 3 === 1) socket.resetAndDestroy();
  }
  for (const { socket } of clients) socket.destroy();
}

describe('the data port', () => {
  let server: TransferEngine;
  /** Guard, buffer, guard: only the middle is registered. */
  let area: TestMemory;
  let bufferAddress: bigint;
  let buffer: Uint8Array;

  beforeEach(async () => {
    area = allocateBytes(BUFFER_BYTES + 2 * GUARD_BYTES, SECRET);
    bufferAddress = area.address + BigInt(GUARD_BYTES);
    buffer = area.bytes.subarray(GUARD_BYTES, GUARD_BYTES + BUFFER_BYTES);
    for (let index = 0; index < buffer.length; index++) buffer[index] = index % 127;
    server = await openEngine({ maxInboundConnections: 64 });
    await server.registerLocalMemory(bufferAddress, BUFFER_BYTES, '*', { remoteAccess: 'read-write' });
  });
  afterEach(async () => {
    await server.close();
    await area.region.close();
  });

  /** Neither guard was written to, and an ordinary client gets the bytes of the buffer. */
  async function expectIntact(): Promise<void> {
    expect(firstOtherThan(area.bytes.subarray(0, GUARD_BYTES), SECRET)).toBe(-1);
    expect(firstOtherThan(area.bytes.subarray(GUARD_BYTES + BUFFER_BYTES), SECRET)).toBe(-1);
    await using client = await openEngine();
    await using local = allocateBytes(BUFFER_BYTES);
    await client.registerLocalMemory(local.address, BUFFER_BYTES, '*', { remoteAccess: 'none' });
    await transfer(client, segmentAt(server.dataPort), {
      opcode: 'read',
      local: local.address,
      remote: bufferAddress,
      lengthBytes: BUFFER_BYTES,
    });
    expectSameBytes(local.bytes, buffer);
  }

  function connect(options: Partial<net.TcpNetConnectOpts> = {}): Promise<RawClient> {
    return connectRaw(server.dataPort, options);
  }

  test('survives random bytes', async () => {
    const random = randomFrom(1);
    for (let round = 0; round < 200; round++) {
      await using client = await connect();
      const bytes = Buffer.from(Array.from({ length: 1 + random(300) }, () => random(256)));
      client.send(bytes);
      client.socket.end();
      const { bytes: reply } = await client.end();
      expect(reply.indexOf(LEAK)).toBe(-1);
    }
    await expectIntact();
  });

  test('closes on a header that ends early, and answers one that comes byte by byte', async () => {
    const header = headerOf({ opcode: 'read', version: 2, lengthBytes: 100, address: Number(bufferAddress) });
    for (let length = 0; length < header.length; length++) {
      await using client = await connect();
      client.send(header.subarray(0, length));
      client.socket.end();
      expect((await client.end()).bytes).toEqual(Buffer.alloc(0));
    }
    await using client = await connect({ noDelay: true });
    for (const byte of header) {
      client.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    const reply = await client.take(108);
    expectSameBytes(reply.subarray(8), buffer.subarray(0, 100));
    await expectIntact();
  });

  test('closes on a body that ends early, and has stored what came', async () => {
    await using client = await connect();
    client.send(headerOf({ opcode: 'write', version: 2, lengthBytes: 1000, address: Number(bufferAddress) }));
    client.send(Buffer.alloc(500, 0x11));
    client.socket.end();
    expect((await client.end()).bytes).toEqual(Buffer.alloc(0));
    expect(firstOtherThan(buffer.subarray(0, 500), 0x11)).toBe(-1);
    expect(buffer[500]).toBe(500 % 127);
    await expectIntact();
  });

  test('never reads or writes outside the buffer, whatever the header says', { timeout: 600_000 }, async () => {
    const endsAtMs = performance.now() + Number(process.env['FUZZ_SECONDS'] ?? 0) * 1000;
    const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_122);
    const random = randomFrom(seed);
    for (let round = 0; round < 3000 || performance.now() < endsAtMs; round++) {
      await using client = await connect();
      client.send(...mutatedRequests(random, bufferAddress));
      client.socket.end();
      const { bytes } = await client.end();
      const leak = bytes.indexOf(LEAK);
      if (leak !== -1) expect({ seed, round, leak }).toBe('no byte of the guards');
    }
    await expectIntact();
  });

  test('closes what sends nothing more, once a limit is reached, and serves who does', async () => {
    const idle: RawClient[] = [];
    const header = headerOf({ opcode: 'read', version: 2, lengthBytes: 10, address: Number(bufferAddress) });
    for (let index = 0; index < 300; index++) idle.push(await connect());
    for (let index = 0; index < 20; index++) {
      await using client = await connect();
      client.send(header);
      expectSameBytes((await client.take(18)).subarray(8), buffer.subarray(0, 10));
    }
    const open = (): number => idle.filter(({ socket }) => socket.readyState === 'open').length;
    await eventually('the end of most', () => open() <= 64);
    await expectIntact();
    for (const client of idle) client.socket.destroy();
  });

  test('serves normal clients after and during 3,000 connections', async () => {
    await using client = await openEngine();
    await using local = allocateBytes(BUFFER_BYTES);
    await client.registerLocalMemory(local.address, BUFFER_BYTES, '*', { remoteAccess: 'none' });
    let isFlooding = true;
    let transfers = 0;
    const reading = (async () => {
      while (isFlooding) {
        await transfer(client, segmentAt(server.dataPort), {
          opcode: 'read',
          local: local.address,
          remote: bufferAddress,
          lengthBytes: BUFFER_BYTES,
        });
        transfers += 1;
      }
    })();
    for (let batch = 0; batch < 20; batch++) await flood(server.dataPort, 150);
    isFlooding = false;
    await reading;
    expect(transfers).toBeGreaterThan(0);
    expectSameBytes(local.bytes, buffer);
    await expectIntact();
  });

  test('keeps a peer at work while its limit of connections is below what that peer would open', async () => {
    await using small = await openEngine({ maxInboundConnections: 1, ioWorkers: 1 });
    await using remote = allocateBytes(64 * MIB);
    await using local = allocateBytes(64 * MIB);
    await using client = await openEngine({ connectionsPerPeer: 8 });
    fillPattern(remote.bytes, 5);
    await small.registerLocalMemory(remote.address, 64 * MIB);
    await client.registerLocalMemory(local.address, 64 * MIB, '*', { remoteAccess: 'none' });
    const segment = segmentAt(small.dataPort);
    for (let round = 0; round < 3; round++) {
      local.bytes.fill(0);
      await transfer(client, segment, {
        opcode: 'read',
        local: local.address,
        remote: remote.address,
        lengthBytes: 64 * MIB,
      });
      expectSameBytes(local.bytes, remote.bytes);
    }
  });
});

describe('a serving process', () => {
  test('keeps its memory bounded, and serves others, while many ask and never read', async () => {
    const sizeBytes = 64 * MIB;
    await using peer = await startServingChild({ sizeBytes });
    const rss = (): number => Number(peer.child.lines.findLast((line) => line.startsWith('rss'))?.split(' ')[1] ?? 0);
    await eventually('a first measure', () => rss() > 0);
    const before = rss();
    const header = headerOf({ opcode: 'read', version: 2, lengthBytes: sizeBytes, address: Number(peer.address) });
    const lazy = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const client = await connectRaw(peer.segment.port);
        client.socket.pause();
        client.send(...new Array<Buffer>(50).fill(header));
        return client;
      }),
    );
    await using client = await openEngine();
    await using local = allocateBytes(sizeBytes);
    await client.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
    const expected = Buffer.alloc(sizeBytes);
    fillPattern(expected, 7);
    for (let round = 0; round < 5; round++) {
      await transfer(client, peer.segment, {
        opcode: 'read',
        local: local.address,
        remote: peer.address,
        lengthBytes: sizeBytes,
      });
      expectSameBytes(local.bytes, expected);
    }
    const seen = peer.child.lines.length;
    await eventually('two more measures', () => peer.child.lines.length > seen + 1);
    expect(rss() - before).toBeLessThan(64 * MIB);
    for (const { socket } of lazy) socket.destroy();
  });

  test('that runs out of descriptors goes on when some are free again', async () => {
    const sizeBytes = MIB;
    await using peer = await startServingChild({ sizeBytes });
    const folder = `/proc/${peer.child.pid}/fd`;
    const inUse = fs.readdirSync(folder).length;
    execFileSync('prlimit', [`--pid=${peer.child.pid}`, `--nofile=${inUse + 20}`]);
    const clients = await Promise.all(Array.from({ length: 100 }, () => connectRaw(peer.segment.port)));
    await eventually('the limit', () => fs.readdirSync(folder).length >= inUse + 20);
    for (const { socket } of clients) socket.destroy();
    await using client = await openEngine();
    await using local = allocateBytes(sizeBytes);
    await client.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
    const read = { opcode: 'read', local: local.address, remote: peer.address, lengthBytes: sizeBytes } as const;
    await eventually('service', async () => (await outcomeOf(transfer(client, peer.segment, read))) === 'resolved');
    const expected = Buffer.alloc(sizeBytes);
    fillPattern(expected, 7);
    expectSameBytes(local.bytes, expected);
  });
});
