import net from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import type { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import {
  CAPTURED_HEADERS,
  CAPTURED_READ_PAYLOAD,
  CAPTURED_STATUSES,
  CAPTURED_WRITE_BODY,
  fromHex,
} from '../../support/captured-frames.ts';
import { type Move, openEngine, outcomeOf, requestsOf, segmentAt, transfer } from '../../support/engines.ts';
import {
  allocateBytes,
  expectSameBytes,
  fillPattern,
  firstOtherThan,
  type TestMemory,
} from '../../support/patterned-memory.ts';
import { connectRaw, redirected } from '../../support/raw-client.ts';

const OK = fromHex(CAPTURED_STATUSES.ok);
const REJECTED = fromHex(CAPTURED_STATUSES.rejected);
const PAYLOAD = fromHex(CAPTURED_READ_PAYLOAD);
const BODY = fromHex(CAPTURED_WRITE_BODY);
const BAD_ADDRESS = 0x1000n;

function captured(name: string): Buffer {
  const found = CAPTURED_HEADERS.find((entry) => entry.name.startsWith(name));
  if (found === undefined) throw new Error(`nothing captured is called ${name}`);
  return fromHex(found.hex);
}

const READ_V2 = captured('READ of version 2, 64');
const READ_V1 = captured('READ of version 1');
const WRITE_V2 = captured('WRITE of version 2');
const WRITE_V1 = captured('WRITE of version 1');

describe('our data port, asked with the bytes of a real engine', () => {
  let engine: TransferEngine;
  let memory: TestMemory;
  let port: number;

  beforeAll(async () => {
    engine = await openEngine();
    memory = allocateBytes(8192);
    await engine.registerLocalMemory(memory.address, 4096, '*', { remoteAccess: 'read-write' });
    port = engine.dataPort;
  });
  afterAll(async () => {
    await engine.close();
    await memory.region.close();
  });
  beforeEach(() => {
    memory.bytes.fill(0);
    memory.bytes.set(PAYLOAD);
  });

  test('answers a READ of version 2 with OK and the payload, and keeps the connection', async () => {
    await using client = await connectRaw(port);
    for (let round = 0; round < 3; round++) {
      client.send(redirected(READ_V2, memory.address));
      expect(await client.take(72)).toEqual(Buffer.concat([OK, PAYLOAD]));
    }
    client.socket.end();
    expect(await client.end()).toEqual({ bytes: Buffer.alloc(0), isReset: false });
  });

  test('answers a READ of version 1 with the payload alone, and keeps the connection', async () => {
    await using client = await connectRaw(port);
    for (let round = 0; round < 3; round++) {
      client.send(redirected(READ_V1, memory.address));
      expect(await client.take(64)).toEqual(PAYLOAD);
    }
    client.socket.end();
    expect(await client.end()).toEqual({ bytes: Buffer.alloc(0), isReset: false });
  });

  test('answers a WRITE of version 2 with OK once the body is in memory', async () => {
    await using client = await connectRaw(port);
    client.send(redirected(WRITE_V2, memory.address + 256n), BODY.subarray(0, 47));
    let isAnswered = false;
    const answer = client.take(8).finally(() => {
      isAnswered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50)); // an early OK would have come by now
    expect(isAnswered).toBe(false);
    client.send(BODY.subarray(47));
    expect(await answer).toEqual(OK);
    expect(Buffer.from(memory.bytes.subarray(256, 304))).toEqual(BODY);
    expect(memory.bytes[304]).toBe(0);
    client.socket.end();
    expect(await client.end()).toEqual({ bytes: Buffer.alloc(0), isReset: false });
  });

  test('answers a WRITE of version 1 with nothing, and the READ behind it with what was written', async () => {
    await using client = await connectRaw(port);
    client.send(redirected(WRITE_V1, memory.address + 256n), BODY, redirected(READ_V1, memory.address + 256n));
    expect(await client.take(64)).toEqual(Buffer.concat([BODY, Buffer.alloc(16)]));
  });

  test('answers a READ of version 2 at a bad address with REJECTED and closes', async () => {
    await using client = await connectRaw(port);
    client.send(redirected(READ_V2, BAD_ADDRESS));
    expect(await client.end()).toEqual({ bytes: REJECTED, isReset: false });
  });

  test('closes without a byte on a READ of version 1 at a bad address', async () => {
    await using client = await connectRaw(port);
    client.send(redirected(READ_V1, BAD_ADDRESS));
    expect((await client.end()).bytes).toEqual(Buffer.alloc(0));
  });

  test('answers a WRITE of version 2 at a bad address with REJECTED, though its body is on the way', async () => {
    for (const bodyBytes of [0, 64, 1_000_000]) {
      await using client = await connectRaw(port);
      const header = redirected(WRITE_V2, BAD_ADDRESS);
      header.writeBigUInt64LE(1_000_000n, 0);
      client.send(header, Buffer.alloc(bodyBytes, 0x77));
      expect(await client.end()).toEqual({ bytes: REJECTED, isReset: false });
    }
  });

  test('closes without a byte on a WRITE of version 1 at a bad address', async () => {
    await using client = await connectRaw(port);
    client.send(redirected(WRITE_V1, BAD_ADDRESS), BODY);
    expect((await client.end()).bytes).toEqual(Buffer.alloc(0));
  });

  test.each([
    ['of no bytes', 0n, 0n],
    ['one byte too long', 0n, 4097n],
    ['one byte past the end', 4096n, 1n],
    ['of 2^64 - 1 bytes', 0n, 2n ** 64n - 1n],
    ['that wraps around to inside the buffer', 16n, 2n ** 64n - 8n],
  ])('rejects a READ %s', async (_name, offset, lengthBytes) => {
    await using client = await connectRaw(port);
    const header = redirected(READ_V2, memory.address + offset);
    header.writeBigUInt64LE(lengthBytes, 0);
    client.send(header);
    expect(await client.end()).toEqual({ bytes: REJECTED, isReset: false });
  });

  test('serves requests that are sent ahead in order, of both versions, and stops at the bad one', async () => {
    await using client = await connectRaw(port);
    const requests: Buffer[] = [];
    const answers: Buffer[] = [];
    for (let index = 0; index < 500; index++) {
      const version = index % 3 === 0 ? READ_V1 : READ_V2;
      requests.push(redirected(version, memory.address + BigInt(index)));
      if (version === READ_V2) answers.push(OK);
      answers.push(Buffer.from(memory.bytes.subarray(index, index + 64)));
    }
    client.send(...requests, redirected(WRITE_V2, memory.address + 2048n), BODY);
    client.send(redirected(READ_V2, memory.address + 4095n), redirected(READ_V2, memory.address));
    const expected = Buffer.concat([...answers, OK, REJECTED]);
    expect(await client.end()).toEqual({ bytes: expected, isReset: false });
    expect(Buffer.from(memory.bytes.subarray(2048, 2096))).toEqual(BODY);
  });
});

interface Scripted extends AsyncDisposable {
  readonly port: number;
  readonly connections: number;
  /** All that was received, one entry a connection. */
  readonly received: readonly Buffer[];
}

/** A server that plays a part: called with all that a connection has received, whenever more comes. */
async function play(part: (socket: net.Socket, received: Buffer, connection: number) => void): Promise<Scripted> {
  const received: Buffer[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const index = received.push(Buffer.alloc(0)) - 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      const all = Buffer.concat([received[index] ?? Buffer.alloc(0), chunk]);
      received[index] = all;
      part(socket, all, index);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    get connections() {
      return received.length;
    },
    received,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe('our client, answered with the bytes of a real engine', () => {
  let engine: TransferEngine;
  let memory: TestMemory;

  beforeAll(async () => {
    engine = await openEngine({ stallTimeoutMs: 2000 });
    memory = allocateBytes(1 << 20);
    await engine.registerLocalMemory(memory.address, 1 << 20, '*', { remoteAccess: 'none' });
  });
  afterAll(async () => {
    await engine.close();
    await memory.region.close();
  });
  beforeEach(() => {
    memory.bytes.fill(0);
  });

  const READ_ADDRESS = 0x7f60_0c6f_d000n;
  const read = (offset = 0, lengthBytes = 64): Move => ({
    opcode: 'read',
    local: memory.address + BigInt(offset),
    remote: READ_ADDRESS,
    lengthBytes,
  });
  const write = (remote: bigint): Move => ({ opcode: 'write', local: memory.address, remote, lengthBytes: 48 });
  /** The captured header with the padding that we send. */
  const clean = (header: Buffer): Buffer => Buffer.concat([header.subarray(0, 17), Buffer.alloc(7)]);

  test('sends the captured READ of version 2 and takes its answer, however it is cut', async () => {
    for (const cut of [0, 1, 7, 8, 9, 71]) {
      const answer = Buffer.concat([OK, PAYLOAD]);
      await using server = await play((socket, received) => {
        if (received.length !== 24) return;
        socket.write(answer.subarray(0, cut));
        setTimeout(() => socket.write(answer.subarray(cut)), 20);
      });
      await transfer(engine, segmentAt(server.port), read());
      expect(Buffer.from(memory.bytes.subarray(0, 64))).toEqual(PAYLOAD);
      expect(server.received[0]).toEqual(clean(READ_V2));
      memory.bytes.fill(0);
    }
  });

  test('takes the answers to requests that it sent ahead, wherever the stream is cut', async () => {
    const answers = Buffer.concat([OK, PAYLOAD, OK, PAYLOAD, OK, PAYLOAD]);
    await using single = await openEngine({ connectionsPerPeer: 1 });
    await single.registerLocalMemory(memory.address, 1 << 20, '*', { remoteAccess: 'none' });
    for (let cut = 60; cut < 160; cut += 3) {
      await using server = await play((socket, received) => {
        if (received.length !== 72) return;
        socket.setNoDelay(true);
        socket.write(answers.subarray(0, cut));
        setTimeout(() => socket.write(answers.subarray(cut)), 10);
      });
      await transfer(single, segmentAt(server.port), read(0), read(64), read(128));
      for (const offset of [0, 64, 128]) {
        expect(Buffer.from(memory.bytes.subarray(offset, offset + 64))).toEqual(PAYLOAD);
      }
      expect(server.connections).toBe(1);
      memory.bytes.fill(0);
    }
  });

  test('takes a refusal behind an answer for what it is, wherever the stream is cut', async () => {
    const answers = Buffer.concat([OK, PAYLOAD, REJECTED]);
    await using single = await openEngine({ connectionsPerPeer: 1 });
    await single.registerLocalMemory(memory.address, 1 << 20, '*', { remoteAccess: 'none' });
    for (let cut = 71; cut <= 80; cut++) {
      await using server = await play((socket, received) => {
        if (received.length !== 48) return;
        socket.setNoDelay(true);
        socket.write(answers.subarray(0, cut));
        setTimeout(() => socket.end(answers.subarray(cut)), 10);
      });
      const batch = single.submitTransfer(requestsOf(segmentAt(server.port), [read(0), read(64)]));
      expect(await outcomeOf(batch.done)).toBe(ErrorCode.TransferRejected);
      expect(batch.tasks.map(({ status }) => status)).toEqual(['COMPLETED', 'FAILED']);
    }
  });

  test('sends the captured WRITE of version 2 and is done with the OK', async () => {
    memory.bytes.set(BODY);
    await using server = await play((socket, received) => {
      if (received.length === 72) socket.write(OK);
    });
    await transfer(engine, segmentAt(server.port), write(0x7f60_0c6f_e000n));
    expect(server.received).toEqual([Buffer.concat([clean(WRITE_V2), BODY])]);
  });

  test('takes REJECTED and a close for a refusal, and asks no second time', async () => {
    await using server = await play((socket) => socket.end(REJECTED));
    for (const move of [read(), write(READ_ADDRESS)]) {
      expect(await outcomeOf(transfer(engine, segmentAt(server.port), move))).toBe(ErrorCode.TransferRejected);
    }
    expect(server.connections).toBe(2);
    expect(firstOtherThan(memory.bytes, 0)).toBe(-1);
  });

  test('asks an engine of version 1 for one request a connection', async () => {
    await using server = await play((socket, received) => {
      if (received.length === 24) socket.end(PAYLOAD);
    });
    const segment = segmentAt(server.port, { protocolVersion: 1 });
    await transfer(engine, segment, ...[0, 64, 128, 192, 256].map((offset) => read(offset)));
    for (let offset = 0; offset < 320; offset += 64) {
      expect(Buffer.from(memory.bytes.subarray(offset, offset + 64))).toEqual(PAYLOAD);
    }
    expect(server.received).toEqual(new Array(5).fill(clean(READ_V1)));
  });

  test('delivers the whole body of a WRITE of version 1, which nobody acknowledges', async () => {
    memory.bytes.set(BODY);
    let isEnded = false;
    await using server = await play((socket) => {
      socket.on('end', () => {
        isEnded = true;
      });
    });
    await transfer(engine, segmentAt(server.port, { protocolVersion: 1 }), write(0x7f60_0c6f_f000n));
    await expect.poll(() => isEnded).toBe(true);
    expect(server.received).toEqual([Buffer.concat([clean(WRITE_V1), BODY])]);
  });

  test('fails when an engine of version 1 closes instead of answering', async () => {
    await using server = await play((socket) => socket.end());
    const done = transfer(engine, segmentAt(server.port, { protocolVersion: 1 }), read());
    expect(await outcomeOf(done)).toBe(ErrorCode.TransferFailed);
    expect(server.connections).toBeLessThan(10);
  });

  test('fails when a legacy engine answers a request of version 2 without a status', async () => {
    const payload = Buffer.alloc(64, 0x55);
    await using server = await play((socket, received) => {
      if (received.length >= 24) socket.write(payload);
    });
    const batch = engine.submitTransfer(requestsOf(segmentAt(server.port), [read(), read(64), read(128)]));
    expect(await outcomeOf(batch.done)).toBe(ErrorCode.TransferFailed);
    expect(batch.tasks.map(({ status, transferredBytes }) => [status, transferredBytes])).toEqual(
      new Array(3).fill(['FAILED', 0]),
    );
    expect(batch.tasks[0]?.error?.message).toContain('framing');
  });

  test.each([
    ['a wrong magic', Buffer.concat([fromHex('000000005654434e'), PAYLOAD])],
    ['a code that does not exist', Buffer.concat([fromHex('020000005654434d'), PAYLOAD])],
    ['a status of zeros', Buffer.concat([Buffer.alloc(8), PAYLOAD])],
    ['half a status', OK.subarray(0, 4)],
    ['half a payload', Buffer.concat([OK, PAYLOAD.subarray(0, 32)])],
    ['nothing', Buffer.alloc(0)],
  ])('fails when the answer is %s', async (_name, answer) => {
    await using server = await play((socket, received) => {
      if (received.length === 24) socket.end(answer);
    });
    const batch = engine.submitTransfer(requestsOf(segmentAt(server.port), [read()]));
    expect(await outcomeOf(batch.done)).not.toBe('resolved');
    expect(batch.tasks).toMatchObject([{ status: 'FAILED', transferredBytes: 0 }]);
  });

  test('does not take an OK for a WRITE whose body it has not sent', async () => {
    const sizeBytes = 64 << 20;
    await using large = allocateBytes(sizeBytes);
    await using single = await openEngine({ connectionsPerPeer: 1, stallTimeoutMs: 1000 });
    await single.registerLocalMemory(large.address, sizeBytes, '*', { remoteAccess: 'none' });
    // Acknowledges all at once, and reads no more than the kernel does for it.
    await using server = await play((socket) => {
      socket.pause();
      socket.write(Buffer.concat(new Array(16).fill(OK)));
    });
    const move = { opcode: 'write', local: large.address, remote: READ_ADDRESS, lengthBytes: sizeBytes } as const;
    const batch = single.submitTransfer(requestsOf(segmentAt(server.port), [move]));
    expect(await outcomeOf(batch.done)).toBe(ErrorCode.TransferFailed);
    expect(batch.tasks[0]?.transferredBytes).toBeLessThan(sizeBytes);
  });

  test('fails when more comes than it asked for, but keeps what was answered before', async () => {
    await using server = await play((socket, received) => {
      if (received.length === 24) socket.write(Buffer.concat([OK, PAYLOAD, OK, PAYLOAD]));
    });
    const segment = segmentAt(server.port);
    await transfer(engine, segment, read());
    expect(Buffer.from(memory.bytes.subarray(0, 64))).toEqual(PAYLOAD);
    await expect.poll(() => server.connections).toBe(1);
    memory.bytes.fill(0);
    await transfer(engine, segment, read());
    expect(server.connections).toBe(2);
    expectSameBytes(memory.bytes.subarray(0, 64), PAYLOAD);
  });

  test('sends many requests ahead on one connection and matches the answers by their order', async () => {
    const source = Buffer.alloc(1 << 20);
    fillPattern(source, 3);
    let answered = 0;
    await using server = await play((socket, received) => {
      for (; answered + 24 <= received.length; answered += 24) {
        const lengthBytes = Number(received.readBigUInt64LE(answered));
        const at = Number(received.readBigUInt64LE(answered + 8) - READ_ADDRESS);
        socket.write(Buffer.concat([OK, source.subarray(at, at + lengthBytes)]));
      }
    });
    const moves = Array.from({ length: 200 }, (_, index) => ({
      ...read(index * 5000, 4999),
      remote: READ_ADDRESS + BigInt(index * 5000),
    }));
    await using single = await openEngine({ connectionsPerPeer: 1 });
    await single.registerLocalMemory(memory.address, 1 << 20, '*', { remoteAccess: 'none' });
    await transfer(single, segmentAt(server.port), ...moves);
    expect(server.connections).toBe(1);
    for (let index = 0; index < 200; index++) {
      const at = index * 5000;
      expectSameBytes(memory.bytes.subarray(at, at + 4999), source.subarray(at, at + 4999));
      expect(memory.bytes[at + 4999]).toBe(0);
    }
  });
});
