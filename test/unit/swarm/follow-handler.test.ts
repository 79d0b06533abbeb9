import { once } from 'node:events';
import http2 from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EnvelopeReader, encodeEnvelope } from '../../../src/swarm/envelope.ts';
import { followPath } from '../../../src/swarm/follow-codec.ts';
import {
  type Availability,
  FollowRequestSchema,
  PeerService as PeerServiceDefinition,
  State,
} from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { PeerService } from '../../../src/swarm/peer-service.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import { eventually } from '../../support/eventually.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';

const layout = layoutOf(10 * pieceSizeBytes);
const id = { name: layout.name, generation: layout.generation };

describe('serveFollow', () => {
  let service: PeerService;
  beforeAll(async () => {
    service = await PeerService.open({ host: '127.0.0.1' });
  });
  afterAll(() => service.close());

  function share(): SharedObject {
    const ranges = [{ address: 4096, lengthBytes: layout.totalSize, access: 'guarded' as const }];
    const object = new SharedObject({ layout, role: 'replica', ranges });
    service.share(object);
    return object;
  }

  const connectClient = (useBinaryFormat: boolean) =>
    createClient(
      PeerServiceDefinition,
      createConnectTransport({ httpVersion: '2', baseUrl: `http://${service.endpoint}`, useBinaryFormat }),
    );

  test.each([['binary', true] as const, ['JSON', false] as const])(
    'answers any Connect client, %s',
    async (_, isBinary) => {
      const object = share();
      const messages: Availability[] = [];
      const follow = async (): Promise<void> => {
        for await (const message of connectClient(isBinary).follow(id)) messages.push(message);
      };
      const ended = follow();
      await eventually('the first message', () => messages.length === 1);
      object.markVerified(3);
      await eventually('the second message', () => messages.length === 2);
      expect(messages[1]).toMatchObject({ state: State.SERVING, added: [3] });
      service.unshare(layout.name);
      await ended;
      expect(messages.at(-1)?.state).toBe(State.WITHDRAWN);
    },
  );

  test('refuses what is not served, and ends when the client said that its time is over', async () => {
    share();
    const followFor = async (request: typeof id, timeoutMs?: number): Promise<Code | undefined> => {
      try {
        for await (const _ of connectClient(true).follow(request, timeoutMs === undefined ? {} : { timeoutMs }));
      } catch (error) {
        return ConnectError.from(error).code;
      }
      return undefined;
    };
    expect(await followFor({ ...id, generation: 'another' })).toBe(Code.NotFound);
    expect(await followFor(id, 50)).toBe(Code.DeadlineExceeded);
  });

  /** Sends bytes as a request and reads the answer to its end. */
  async function ask(body: Buffer, headers: http2.OutgoingHttpHeaders = {}): Promise<{ status: number; end: string }> {
    const session = http2.connect(`http://${service.endpoint}`);
    try {
      const stream = session.request({
        ':method': 'POST',
        ':path': followPath,
        'content-type': 'application/connect+proto',
        ...headers,
      });
      stream.end(body);
      const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
      let end = '';
      const reader = new EnvelopeReader(10_000, (flags, message) => {
        if (flags === 2) end = message.toString();
      });
      for await (const chunk of stream) if (answer[':status'] === 200) reader.push(chunk as Buffer);
      return { status: answer[':status'], end };
    } finally {
      session.destroy();
    }
  }

  const request = toBinary(FollowRequestSchema, create(FollowRequestSchema, id));

  test.each([
    ['nothing', Buffer.alloc(0), 'invalid_argument'],
    ['half an envelope', encodeEnvelope(0, request).subarray(0, 10), 'invalid_argument'],
    ['no protocol buffer', encodeEnvelope(0, Buffer.alloc(20, 0xff)), 'invalid_argument'],
    ['a compressed message', encodeEnvelope(1, request), 'unimplemented'],
    ['a long message', encodeEnvelope(0, Buffer.alloc(100_000)), 'resource_exhausted'],
  ])('refuses %s', async (_, body, code) => {
    share();
    const { status, end } = await ask(body);
    expect(status).toBe(200);
    expect(JSON.parse(end)).toMatchObject({ error: { code } });
  });

  test('leaves other content types and methods to Connect, which refuses them', async () => {
    expect((await ask(Buffer.from(request), { 'content-type': 'application/proto' })).status).toBe(415);
    expect((await ask(Buffer.alloc(0), { ':method': 'PUT' })).status).toBe(405);
  });
});
