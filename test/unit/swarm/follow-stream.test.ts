import { once } from 'node:events';
import http2, { type ServerHttp2Stream } from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { encodeEnvelope } from '../../../src/swarm/envelope.ts';
import { type Availability, AvailabilitySchema, State } from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { PeerClient } from '../../../src/swarm/peer-client.ts';
import { eventually } from '../../support/eventually.ts';
import { placeOf } from '../../support/swarm-nodes.ts';

const id = { name: 'model', generation: '0' };
const message = encodeEnvelope(
  0,
  toBinary(AvailabilitySchema, create(AvailabilitySchema, { state: State.SERVING, added: [1, 2] })),
);
const goodEnd = encodeEnvelope(2, Buffer.from('{}'));

/** A peer that answers every `Follow` as a test likes. */
async function startPeer(answer: (stream: ServerHttp2Stream) => void) {
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session.on('error', () => {})));
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.resume();
    answer(stream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const respond = (stream: ServerHttp2Stream, contentType = 'application/connect+proto'): void =>
  stream.respond({ ':status': 200, 'content-type': contentType });

/** Answers with these bytes, and leaves the stream open. */
const send =
  (bytes: Buffer) =>
  (stream: ServerHttp2Stream): void => {
    respond(stream);
    stream.write(bytes);
  };

const sendAndEnd =
  (bytes: Buffer) =>
  (stream: ServerHttp2Stream): void => {
    respond(stream);
    stream.end(bytes);
  };

const notFound = Buffer.from('{"error":{"code":"not_found","message":"gone"}}');

function follow(client: PeerClient, endpoint: string, signal = new AbortController().signal) {
  const messages: Availability[] = [];
  const ended = client.follow(placeOf(endpoint), id, {
    wantsDigests: false,
    signal,
    onMessage: (received) => messages.push(received),
  });
  ended.catch(() => {});
  return { messages, ended };
}

describe('PeerClient.follow', () => {
  test('resolves with the end of the stream, whatever pieces it came in', async () => {
    await using peer = await startPeer((stream) => {
      respond(stream);
      const bytes = Buffer.concat([message, message, goodEnd]);
      for (let at = 0; at < bytes.length; at += 3) stream.write(bytes.subarray(at, at + 3));
      stream.end();
    });
    await using client = new PeerClient();
    const { messages, ended } = follow(client, peer.endpoint);
    await ended;
    expect(messages.map(({ added }) => added)).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });

  test.each<[what: string, answer: (stream: ServerHttp2Stream) => void, why: RegExp]>([
    ['a message above the limit', send(Buffer.from([0, 0xff, 0, 0, 0])), /above the limit/],
    ['what is no protocol buffer', send(encodeEnvelope(0, Buffer.alloc(9, 0xff))), /./],
    ['a compressed message', send(encodeEnvelope(1, Buffer.alloc(9))), /compressed/],
    ['an end without sense', send(encodeEnvelope(2, Buffer.from('['))), /./],
    ['no end', sendAndEnd(message), /ended early/],
    ['another content type', (stream) => respond(stream, 'text/html'), /text\/html/],
    ['another status', (stream) => stream.respond({ ':status': 503 }, { endStream: true }), /503/],
    ['a reset', (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM), /REFUSED/],
    ['a broken connection', (stream) => stream.session?.destroy(), /./],
    ['the error of the peer', sendAndEnd(encodeEnvelope(2, notFound)), /gone/],
  ])('rejects with P2P_PEER_UNREACHABLE after %s', async (_, answer, why) => {
    await using peer = await startPeer(answer);
    await using client = new PeerClient();
    const { ended } = follow(client, peer.endpoint);
    await expect(ended).rejects.toMatchObject({
      code: ErrorCode.PeerUnreachable,
      cause: { message: expect.stringMatching(why) },
    });
  });

  test('ends the stream, with the cause, when the callback throws', async () => {
    let isClosed = false;
    await using peer = await startPeer((stream) => {
      stream.on('close', () => {
        isClosed = true;
      });
      respond(stream);
      stream.write(message);
    });
    await using client = new PeerClient();
    const fault = new Error('not today');
    const onMessage = (): void => {
      throw fault;
    };
    const ended = client.follow(placeOf(peer.endpoint), id, {
      wantsDigests: false,
      signal: new AbortController().signal,
      onMessage,
    });
    await expect(ended).rejects.toMatchObject({ code: ErrorCode.PeerUnreachable, cause: fault });
    await eventually('the end of the stream', () => isClosed);
  });

  test('calls back no more after an abort, and tells the peer', async () => {
    let isClosed = false;
    await using peer = await startPeer((stream) => {
      stream.on('close', () => {
        isClosed = true;
      });
      respond(stream);
      stream.write(Buffer.concat([message, message, message]));
    });
    await using client = new PeerClient();
    const abort = new AbortController();
    const reason = new Error('enough');
    let messages = 0;
    const onMessage = (): void => {
      messages++;
      abort.abort(reason);
    };
    const ended = client.follow(placeOf(peer.endpoint), id, { wantsDigests: false, signal: abort.signal, onMessage });
    await expect(ended).rejects.toBe(reason);
    await eventually('the end of the stream', () => isClosed);
    expect(messages).toBe(1);
  });

  test('can be aborted while the peer does not even greet', async () => {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => sockets.add(socket.on('error', () => {})));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    await using client = new PeerClient();
    const abort = new AbortController();
    const { ended } = follow(client, `127.0.0.1:${(server.address() as AddressInfo).port}`, abort.signal);
    await eventually('the connection', () => sockets.size === 1);
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(ended).rejects.toBe(reason);
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('shares one connection among streams and calls to a peer', async () => {
    let streams = 0;
    await using peer = await startPeer((stream) => {
      streams++;
      respond(stream);
      stream.write(message);
    });
    await using client = new PeerClient();
    const follows = Array.from({ length: 12 }, () => follow(client, peer.endpoint));
    await eventually('all first messages', () => follows.every(({ messages }) => messages.length === 1));
    expect(streams).toBe(12);
    expect(peer.sessions.size).toBe(1);
  });
});
