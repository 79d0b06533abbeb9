/** The RPC port over real sockets: what was captured from real engines, and what they never send. */
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import type { Notification } from '../../../../src/engine/mooncake/notifications.ts';
import { encodeRpcFrame, RpcFrameReader } from '../../../../src/engine/mooncake/rpc-frame.ts';
import type { TransferEngine } from '../../../../src/engine/transfer-engine.ts';
import { CAPTURED_HANDSHAKE, fromHex } from '../../../support/captured-frames.ts';
import { openEngine, outcomeOf, segmentAt, transfer } from '../../../support/engines.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../../../support/patterned-memory.ts';

const SIZE_BYTES = 100_000;

function open(): Promise<TransferEngine> {
  return openEngine({ metadata: 'P2PHANDSHAKE', segmentName: '127.0.0.1' });
}

/** Sends bytes and collects what comes until the other side ends. */
function exchange(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    const socket = net.connect({ port, host: '127.0.0.1' }, () => socket.write(bytes));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', () => {});
    socket.once('close', () => resolve(Buffer.concat(parts)));
  });
}

describe('the RPC port', () => {
  let engine: TransferEngine;

  beforeAll(async () => {
    engine = await open();
  });
  afterAll(() => engine.close());

  test('answers the captured request for metadata with the own descriptor', async () => {
    const reply = await exchange(engine.rpcPort, fromHex(CAPTURED_HANDSHAKE.request));
    const frame = new RpcFrameReader().push(reply);
    expect(engine.segmentName).toBe(`127.0.0.1:${engine.rpcPort}`);
    expect(frame).toMatchObject({
      type: 1,
      body: {
        name: engine.segmentName,
        protocol: 'tcp',
        tcp_data_port: engine.dataPort,
        tcp_proto_version: 2,
        buffers: [],
      },
    });
    expect(reply.at(-1)).toBe(0x0a);
  });

  test('answers a probe, and a handshake for RDMA as an engine of TCP alone does', async () => {
    expect(await exchange(engine.rpcPort, encodeRpcFrame(3, '{}'))).toEqual(encodeRpcFrame(3, '{"status":"success"}'));
    for (const type of [0, undefined] as const) {
      const frame = new RpcFrameReader().push(await exchange(engine.rpcPort, encodeRpcFrame(type, '{"qp_num":[1]}')));
      expect(frame).toEqual({
        type,
        body: {
          local_gid: '',
          local_lid: 0,
          local_nic_path: '',
          payload: '',
          peer_nic_path: '',
          qp_num: [],
          reply_msg: '',
        },
      });
    }
  });

  test.each([
    ['a length of 0', Buffer.alloc(8)],
    ['the largest length', Buffer.alloc(8, 0xff)],
    ['no JSON', encodeRpcFrame(1, '{"a":')],
    ['an unknown type', fromHex('0400000000000000 ff 7b7d0a')],
    ['a notification that is a list', encodeRpcFrame(2, '[1,2]')],
    ['a notification whose name is an object', encodeRpcFrame(2, '{"name":{},"notify_msg":"x"}')],
  ])('closes without an answer on %s, and goes on', async (_what, bytes) => {
    expect(await exchange(engine.rpcPort, bytes)).toHaveLength(0);
    expect(await engine.probe(segmentAt(1, { rpcPort: engine.rpcPort }))).toBe(true);
  });
});

describe('two engines without a metadata store', () => {
  test('find each other by name, read and write', async () => {
    await using server = await open();
    await using client = await open();
    await using theirs = allocateBytes(SIZE_BYTES);
    await using ours = allocateBytes(SIZE_BYTES);
    fillPattern(theirs.bytes, 5);
    await server.registerLocalMemory(theirs.address, SIZE_BYTES, '*', { remoteAccess: 'read-write' });
    await client.registerLocalMemory(ours.address, SIZE_BYTES);
    const segment = await client.openSegment(server.segmentName);
    expect(segment.buffers).toMatchObject([{ address: Number(theirs.address), lengthBytes: SIZE_BYTES }]);
    const move = { local: ours.address, remote: theirs.address, lengthBytes: SIZE_BYTES };
    await transfer(client, segment, { opcode: 'read', ...move });
    expectSameBytes(ours.bytes, theirs.bytes);
    fillPattern(ours.bytes, 6);
    await transfer(client, segment, { opcode: 'write', ...move });
    expectSameBytes(theirs.bytes, ours.bytes);
  });

  test('openSegment() says what is wrong with a name', async () => {
    await using engine = await open();
    expect(await outcomeOf(engine.openSegment('no-port'))).toBe(ErrorCode.InvalidArgument);
    expect(await outcomeOf(engine.openSegment('127.0.0.1:1'))).toBe(ErrorCode.PeerUnreachable);
  });

  test.each([
    ['null', encodeRpcFrame(1, 'null'), ErrorCode.SegmentNotFound],
    ['a list', encodeRpcFrame(1, '[1]'), ErrorCode.RecordInvalid],
    ['a segment of RDMA', encodeRpcFrame(1, '{"name":"n","protocol":"rdma"}'), ErrorCode.RecordInvalid],
    ['to another question', encodeRpcFrame(3, '{}'), ErrorCode.PeerUnreachable],
    ['garbage', Buffer.alloc(64, 0xff), ErrorCode.PeerUnreachable],
    ['nothing', Buffer.alloc(0), ErrorCode.PeerUnreachable],
  ])('openSegment() rejects when the answer is %s', async (_what, answer, code) => {
    await using engine = await open();
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    expect(await outcomeOf(engine.openSegment(`127.0.0.1:${port}`))).toBe(code);
    server.close();
  });

  test('sendNotify() reaches the listeners, also those that come later', async () => {
    await using receiver = await open();
    await using sender = await open();
    const segment = await sender.openSegment(receiver.segmentName);
    const heard: Notification[] = [];
    await sender.sendNotify(segment, { name: 'first', message: 'before anybody listens' });
    const remove = receiver.onNotify((notification) => heard.push(notification));
    await sender.sendNotify(segment, { name: 'second', message: 'é "quoted" \n 😀' });
    expect(heard).toEqual([
      { name: 'first', message: 'before anybody listens' },
      { name: 'second', message: 'é "quoted" \n 😀' },
    ]);
    remove();
    await sender.sendNotify(segment, { name: 'third', message: 'kept' });
    expect(heard).toHaveLength(2);
  });

  test('sendNotify() rejects when nobody takes it', async () => {
    await using receiver = await open();
    await using sender = await open();
    const segment = await sender.openSegment(receiver.segmentName);
    const note = { name: 'n', message: '' };
    for (let kept = 0; kept < 1024; kept += 64) {
      await Promise.all(Array.from({ length: 64 }, () => sender.sendNotify(segment, note)));
    }
    expect(await outcomeOf(sender.sendNotify(segment, note))).toBe(ErrorCode.TransferRejected);
    expect(await outcomeOf(sender.sendNotify(segmentAt(1), note))).toBe(ErrorCode.Unsupported);
    await receiver.close();
    expect(await outcomeOf(sender.sendNotify(segment, note))).toBe(ErrorCode.PeerUnreachable);
    expect(await sender.probe(segment)).toBe(false);
  });
});
