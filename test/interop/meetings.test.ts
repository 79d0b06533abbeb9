/** What engines of both kinds tell each other besides bytes, and what they leave behind. */
import net from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../src/core/errors.ts';
import type { Notification } from '../../src/engine/mooncake/notifications.ts';
import { encodeDescriptor, encodeLocation } from '../../src/engine/segment-descriptor.ts';
import { TransferEngine, type TransferEngineOptions } from '../../src/engine/transfer-engine.ts';
import { HttpMetadataClient } from '../../src/metadata/http/http-metadata-client.ts';
import { outcomeOf, transfer } from '../support/engines.ts';
import { eventually } from '../support/eventually.ts';
import {
  allocateBytes,
  expectSameBytes,
  fillPattern,
  firstOtherThan,
  type TestMemory,
} from '../support/patterned-memory.ts';
import { MEETING_PLACES, type MeetingPlace } from './support/meeting-places.ts';
import { MooncakePeer } from './support/mooncake-peer.ts';

const SIZE_BYTES = 1 << 20;
const OUR_NAME = '127.0.0.1:12345';
const THEIR_NAME = '127.0.0.1:12399';
/** A dead peer costs seconds at most: a refused connection on this host far less. */
const SECONDS_MS = 5000;

let memory: TestMemory;

beforeAll(() => {
  memory = allocateBytes(SIZE_BYTES);
});
afterAll(() => memory[Symbol.asyncDispose]());

function openOurs(place: MeetingPlace, options: Partial<TransferEngineOptions> = {}): Promise<TransferEngine> {
  return TransferEngine.open({ metadata: place.ours, segmentName: OUR_NAME, host: '127.0.0.1', ...options });
}

function startTheirs(place: MeetingPlace, env: Record<string, string> = {}): Promise<MooncakePeer> {
  const name = place.theirs === 'P2PHANDSHAKE' ? '127.0.0.1' : THEIR_NAME;
  return MooncakePeer.start({ metadata: place.theirs, name, sizeBytes: SIZE_BYTES, env });
}

function nameOf(peer: MooncakePeer, place: MeetingPlace): string {
  return place.theirs === 'P2PHANDSHAKE' ? `127.0.0.1:${peer.rpcPort}` : THEIR_NAME;
}

describe.each(Object.keys(MEETING_PLACES))('engines that meet by way of %s', (placeName) => {
  let place: MeetingPlace;
  let engine: TransferEngine;
  let peer: MooncakePeer;

  beforeEach(async () => {
    place = await (MEETING_PLACES[placeName] ?? expect.fail())();
    engine = await openOurs(place);
    peer = await startTheirs(place);
  });
  afterEach(async () => {
    await peer?.close();
    await engine?.close();
    await place?.[Symbol.asyncDispose]();
  });

  test('notify and probe each other', async () => {
    const segment = await engine.openSegment(nameOf(peer, place));
    const heard: Notification[] = [];
    engine.onNotify((notification) => heard.push(notification));

    expect(await engine.probe(segment)).toBe(true);
    await engine.sendNotify(segment, { name: 'ours', message: 'bytes are there: é "1" \n' });
    expect(await peer.notifies()).toEqual([['ours', 'bytes are there: é "1" \n']]);

    expect(await peer.probe(engine.segmentName)).toBe(0);
    await engine.registerLocalMemory(memory.address, SIZE_BYTES);
    const status = await peer.transfer({
      opcode: 'read',
      segment: engine.segmentName,
      offset: 0,
      remote: Number(memory.address),
      length: SIZE_BYTES,
      notify: ['theirs', 'have it'],
    });
    expect(status).toBe(0);
    await eventually('the notification', () => heard.length > 0);
    expect(heard).toEqual([{ name: 'theirs', message: 'have it' }]);
  });

  test('reach only what is registered, and only as it allows', async () => {
    const segment = await engine.openSegment(nameOf(peer, place));
    memory.bytes.fill(0);
    await engine.registerLocalMemory(memory.address, SIZE_BYTES, '*', { remoteAccess: 'read' });
    expect(await peer.firstBufferOf(engine.segmentName)).toBe(Number(memory.address));
    const whole = { segment: engine.segmentName, offset: 0, remote: Number(memory.address), length: SIZE_BYTES };
    peer.poke(0, Buffer.alloc(SIZE_BYTES, 7));
    expect(await peer.transfer({ opcode: 'write', ...whole })).not.toBe(0);
    expect(firstOtherThan(memory.bytes, 0)).toBe(-1);
    expect(await peer.transfer({ opcode: 'read', ...whole, remote: whole.remote + 1 })).not.toBe(0);
    expect(await peer.transfer({ opcode: 'read', ...whole })).toBe(0);
    await engine.unregisterLocalMemory(memory.address);
    expect(await peer.transfer({ opcode: 'read', ...whole })).not.toBe(0);

    await engine.registerLocalMemory(memory.address, SIZE_BYTES);
    const past = {
      opcode: 'read',
      local: memory.address,
      remote: BigInt(peer.address + 1),
      lengthBytes: SIZE_BYTES,
    } as const;
    expect(await outcomeOf(transfer(engine, segment, past))).toBe(ErrorCode.TransferRejected);
  });

  test('find out within seconds that the other was killed', async () => {
    const name = nameOf(peer, place);
    const segment = await engine.openSegment(name);
    await engine.registerLocalMemory(memory.address, SIZE_BYTES);
    await peer.kill();
    const startedMs = performance.now();
    if (placeName === 'P2PHANDSHAKE') {
      expect(await outcomeOf(engine.openSegment(name, { refresh: true }))).toBe(ErrorCode.PeerUnreachable);
    } else {
      // Nobody takes its records back.
      expect(await engine.openSegment(name, { refresh: true })).toEqual(segment);
    }
    const read = { opcode: 'read', local: memory.address, remote: BigInt(peer.address), lengthBytes: 1 } as const;
    expect(await outcomeOf(transfer(engine, segment, read))).toBe(ErrorCode.PeerUnreachable);
    expect(await engine.probe(segment)).toBe(false);
    expect(performance.now() - startedMs).toBeLessThan(SECONDS_MS);

    // Its name is free for who comes next, of either kind.
    await using heir = await openOurs(place, { segmentName: name });
    if (placeName === 'P2PHANDSHAKE') return;
    expect(await engine.openSegment(name, { refresh: true })).toMatchObject({ port: heir.dataPort });
    await heir.close();
    await using successor = await startTheirs(place);
    expect(await engine.openSegment(name, { refresh: true })).toMatchObject({
      buffers: [{ address: successor.address }],
    });
  });
});

test('a cluster id keeps engines of both kinds apart, and those with the same one together', async () => {
  await using place = await (MEETING_PLACES['etcd'] ?? expect.fail())();
  await using blue = await openOurs(place, { metadataClusterId: 'blue' });
  await using plain = await openOurs(place);
  await using peer = await startTheirs(place, { MC_METADATA_CLUSTER_ID: 'blue' });
  expect(await outcomeOf(plain.openSegment(THEIR_NAME))).toBe(ErrorCode.SegmentNotFound);
  const segment = await blue.openSegment(THEIR_NAME);
  const bytes = Buffer.alloc(SIZE_BYTES);
  fillPattern(bytes, 9);
  peer.poke(0, bytes);
  await blue.registerLocalMemory(memory.address, SIZE_BYTES);
  const whole = {
    opcode: 'read',
    local: memory.address,
    remote: BigInt(peer.address),
    lengthBytes: SIZE_BYTES,
  } as const;
  await transfer(blue, segment, whole);
  expectSameBytes(memory.bytes, bytes);
});

test.each([
  [1, 0x00],
  [2, 0x80],
])('their engine speaks framing version %i when it is told to', async (version, opcode) => {
  await using place = await (MEETING_PLACES['our HTTP service'] ?? expect.fail())();
  const opcodes: number[] = [];
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (header) => {
      opcodes.push(header.readUInt8(16));
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const records = new HttpMetadataClient(place.ours);
  const buffers = [{ address: 4096, lengthBytes: 4096 }];
  await records.put('mooncake/ram/raw', encodeDescriptor({ name: 'raw', dataPort: port, buffers }));
  await records.put('mooncake/rpc_meta/raw', encodeLocation('127.0.0.1'));
  await using peer = await startTheirs(place, { MC_TCP_PROTO: String(version) });
  expect(await peer.transfer({ opcode: 'read', segment: 'raw', offset: 0, remote: 4096, length: 1 })).not.toBe(0);
  expect(opcodes).toEqual([opcode]);
  server.close();
});
