import { execFile } from 'node:child_process';
import http2 from 'node:http2';
import net from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import { Bitmap } from '../../../src/swarm/bitmap.ts';
import { type Availability, State, Verdict } from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { PeerClient } from '../../../src/swarm/peer-client.ts';
import { PeerService } from '../../../src/swarm/peer-service.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import { eventually } from '../../support/eventually.ts';
import { layoutOf, pieceSizeBytes, placeOf } from '../../support/swarm-nodes.ts';

const pieces = 10;
const layout = layoutOf(pieces * pieceSizeBytes);
const id = { name: layout.name, generation: layout.generation };

/** An object over memory that nothing in these tests touches. */
function createObject(role: 'gold' | 'replica'): SharedObject {
  const ranges = [{ address: 4096, lengthBytes: layout.totalSize, access: 'guarded' as const }];
  return new SharedObject({ layout, role, ranges });
}

const digestOf = (piece: number): Uint8Array => Uint8Array.from({ length: 8 }, () => piece);

/** Collects the messages of a stream until it ends. */
function collect(
  client: PeerClient,
  endpoint: string,
  options: { wantsDigests?: boolean; signal?: AbortSignal } = {},
): { readonly messages: Availability[]; readonly ended: Promise<void> } {
  const messages: Availability[] = [];
  const { wantsDigests = false, signal = new AbortController().signal } = options;
  const ended = client.follow(placeOf(endpoint), id, {
    wantsDigests,
    signal,
    onMessage: (message) => messages.push(message),
  });
  ended.catch(() => {});
  return { messages, ended };
}

const anyGeneration = { name: layout.name, generation: '' };
const { signal: never } = new AbortController();

describe('PeerService', () => {
  test('streams all that it has, then what changes, then the end', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const object = createObject('replica');
    object.markVerified(2);
    service.share(object);
    const { messages, ended } = collect(client, service.endpoint);
    const first = await eventually('the first message', () => messages[0]);
    expect([...(Bitmap.decode(pieces, first.bitmap) ?? [])]).toEqual([2]);
    expect(first).toMatchObject({ state: State.SERVING, digests: [] });
    object.markVerified(5);
    object.markVerified(6);
    object.markChanged(2);
    const second = await eventually('the second message', () => messages[1]);
    expect(second).toMatchObject({ added: [5, 6], changed: [2] });
    service.unshare(layout.name);
    await ended;
    expect(messages.at(-1)?.state).toBe(State.WITHDRAWN);
  });

  test('is followed before it serves anything, and goes on over that stream when it does', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const taken = client.followEarly(placeOf(service.endpoint), anyGeneration, { wantsDigests: false, signal: never });
    await eventually('the stream to be open', () => service.sessions === 1);
    expect(service.followers).toBe(0);
    const object = createObject('replica');
    object.markVerified(2);
    await eventually('the follower', () => {
      service.share(object);
      return service.followers === 1;
    });
    const { messages, ended } = collect(client, service.endpoint);
    expect(await taken).toBe(true);
    const first = await eventually('the first message', () => messages[0]);
    expect(first.generation).toBe(layout.generation);
    object.markVerified(5);
    await eventually('the change', () => messages.some(({ added }) => added.includes(5)));
    expect(service.followers).toBe(1);
    service.unshare(layout.name);
    await ended;
  });

  test('an early stream ends with its signal, and when another object takes the name is followed anew', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const left = new AbortController();
    const options = { wantsDigests: false, signal: left.signal };
    const idle = client.followEarly(placeOf(service.endpoint), anyGeneration, options);
    left.abort(new Error('it waits no more'));
    expect(await idle).toBe(false);
    const other = layoutOf(layout.totalSize, { generation: 'ffff' });
    const ranges = [{ address: 4096, lengthBytes: other.totalSize, access: 'guarded' as const }];
    service.share(new SharedObject({ layout: other, role: 'replica', ranges }));
    const early = client.followEarly(placeOf(service.endpoint), anyGeneration, { wantsDigests: false, signal: never });
    await eventually('the stream of the other object', () => service.followers === 1);
    const { ended } = collect(client, service.endpoint);
    expect(await early).toBe(true);
    await expect(ended).rejects.toMatchObject({ code: ErrorCode.PeerUnreachable }); // the object itself is not served
    await eventually('the early stream to end', () => service.followers === 0);
  });

  test('an early stream with digests is taken over by who wants digests', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const object = createObject('gold');
    object.setDigest(0, digestOf(0));
    service.share(object);
    const taken = client.followEarly(placeOf(service.endpoint), layout, { wantsDigests: true, signal: never });
    await eventually('the early stream', () => service.followers === 1);
    const without = collect(client, service.endpoint);
    const first = await eventually('the first message', () => without.messages[0]);
    expect(first.digests).toEqual([]);
    expect(service.followers).toBe(2);
    const { messages, ended } = collect(client, service.endpoint, { wantsDigests: true });
    expect(await taken).toBe(true);
    const kept = await eventually('the message that was kept', () => messages[0]);
    expect(kept.digests).toHaveLength(1);
    expect(service.followers).toBe(2);
    service.unshare(layout.name);
    await Promise.all([ended, without.ended]);
  });

  test.each([
    ['127.0.0.1', []],
    ['0.0.0.0', ['10.0.1.1']],
    ['::', ['10.0.1.1', 'fd00::1']],
  ])('tells only those other addresses that it hears on %s', async (host, heard) => {
    const otherAddresses = ['10.0.0.1', '10.0.1.1', 'fd00::1'];
    await using service = await PeerService.open({ host, advertisedHost: '10.0.0.1', otherAddresses });
    expect(service.addresses).toEqual(heard);
  });

  test('streams digests in runs, and their root, to who wants them', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const object = createObject('gold');
    for (const piece of [0, 1, 4]) object.setDigest(piece, digestOf(piece));
    service.share(object);
    const { messages } = collect(client, service.endpoint, { wantsDigests: true });
    const first = await eventually('the first message', () => messages[0]);
    expect(first.digests.map(({ firstPiece, digests }) => [firstPiece, [...digests]])).toEqual([
      [0, [...digestOf(0), ...digestOf(1)]],
      [4, [...digestOf(4)]],
    ]);
    for (let piece = 0; piece < pieces; piece++) object.setDigest(piece, digestOf(piece));
    const root = digestBytes('xxh64', Buffer.concat(Array.from({ length: pieces }, (_, piece) => digestOf(piece))));
    const last = await eventually('the root', () => messages.find(({ digestRoot }) => digestRoot.length > 0));
    expect(Buffer.compare(last.digestRoot, root)).toBe(0);
    expect(
      Buffer.compare((await client.getDigests(placeOf(service.endpoint), id)) ?? Buffer.alloc(0), object.digests),
    ).toBe(0);
  });

  test('ends a stream with the reason when the memory is damaged', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const object = createObject('gold');
    service.share(object);
    const { messages, ended } = collect(client, service.endpoint);
    await eventually('the first message', () => messages[0]);
    object.markDamaged('the file was truncated');
    await ended;
    expect(messages.at(-1)).toMatchObject({ state: State.DAMAGED, reason: 'the file was truncated' });
  });

  test('refuses another generation and an unknown name', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    service.share(createObject('gold'));
    for (const other of [
      { ...id, generation: 'another' },
      { ...id, name: 'another' },
    ]) {
      await expect(client.getDigests(placeOf(service.endpoint), other)).rejects.toMatchObject({
        code: ErrorCode.PeerUnreachable,
      });
    }
  });

  test('counts followers, and forgets those that left', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    service.share(createObject('gold'));
    const abort = new AbortController();
    const { ended } = collect(client, service.endpoint, { signal: abort.signal });
    const followers = async (): Promise<number> =>
      (await client.getStatus(placeOf(service.endpoint), layout.name)).followers;
    await eventually('a follower', async () => (await followers()) === 1);
    expect(await client.getStatus(placeOf(service.endpoint), layout.name)).toMatchObject({
      isServed: true,
      role: 'gold',
      pieces,
      verifiedPieces: pieces,
    });
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(ended).rejects.toBe(reason);
    await eventually('no follower', async () => (await followers()) === 0);
    expect((await client.getStatus(placeOf(service.endpoint), 'another')).isServed).toBe(false);
  });

  test('looks at its memory again when a peer doubts it, but not as often as one likes', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    const object = createObject('gold');
    let looks = 0;
    const digest = (): Promise<Uint8Array> => {
      looks++;
      return Promise.resolve(digestOf(3));
    };
    object.attachDigester({ digest });
    for (let piece = 0; piece < pieces; piece++) object.setDigest(piece, digestOf(piece));
    service.share(object);
    const ask = (piece: number): Promise<Verdict> =>
      client.reportMismatch(placeOf(service.endpoint), id, { piece, digestSeen: digestOf(9) });
    expect(await ask(3)).toBe(Verdict.INTACT);
    expect(await ask(4)).toBe(Verdict.MEMORY_CHANGED);
    expect(object.verified.has(4)).toBe(false);
    await expect(ask(pieces)).rejects.toMatchObject({ code: ErrorCode.PeerUnreachable });
    const verdicts: Verdict[] = [];
    for (let times = 0; times < 30; times++) verdicts.push(await ask(3));
    expect(verdicts).toContain(Verdict.UNSPECIFIED);
    expect(looks).toBeLessThan(30);
  });

  test('answers curl', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    service.share(createObject('gold'));
    const url = `http://${service.endpoint}/p2pstore.peer.v1.PeerService/GetStatus`;
    const body = JSON.stringify({ name: layout.name });
    const options = ['-s', '--http2-prior-knowledge', '-H', 'content-type: application/json', '-d', body, url];
    const { stdout } = await promisify(execFile)('curl', options);
    expect(JSON.parse(stdout)).toMatchObject({ isServed: true, verifiedPieces: pieces, role: 'gold' });
  });

  test('closes at once, streams and all', async () => {
    const service = await PeerService.open({ host: '127.0.0.1' });
    await using client = new PeerClient();
    service.share(createObject('gold'));
    const { messages, ended } = collect(client, service.endpoint);
    await eventually('the first message', () => messages[0]);
    await service.close();
    await service.close();
    await expect(ended).rejects.toMatchObject({ code: ErrorCode.PeerUnreachable });
    await expect(client.getStatus(placeOf(service.endpoint), layout.name)).rejects.toMatchObject({
      code: ErrorCode.PeerUnreachable,
    });
  });

  test('turns sessions away above its limit, and survives what is not HTTP/2', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1', sessionsMax: 2 });
    service.share(createObject('gold'));
    const port = Number(service.endpoint.split(':').at(-1));
    const noise = net.connect(port, '127.0.0.1');
    noise.on('error', () => {});
    noise.resume();
    noise.write(Buffer.alloc(10_000, 0xff));
    await new Promise((resolve) => noise.once('close', resolve));
    const sessions = Array.from({ length: 4 }, () => http2.connect(`http://${service.endpoint}`));
    for (const session of sessions) session.on('error', () => {});
    await eventually(
      'two to be turned away',
      () => sessions.filter(({ closed, destroyed }) => closed || destroyed).length === 2,
    );
    for (const session of sessions) session.destroy();
    await using client = new PeerClient();
    const isServed = async (): Promise<boolean> => {
      const status = await client.getStatus(placeOf(service.endpoint), layout.name).catch(() => undefined);
      return status?.isServed === true;
    };
    await eventually('room for another', isServed);
  });

  test('rejects with P2P_INVALID_ARGUMENT when the port that was asked for is taken', async () => {
    await using service = await PeerService.open({ host: '127.0.0.1' });
    const port = Number(service.endpoint.split(':').at(-1));
    await expect(PeerService.open({ host: '127.0.0.1', port })).rejects.toMatchObject({
      code: ErrorCode.InvalidArgument,
      context: { argument: 'peerPort' },
      cause: { code: 'EADDRINUSE' },
    });
  });
});
