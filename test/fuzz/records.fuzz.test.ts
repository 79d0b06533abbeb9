/** Every decoder of what others write, under input that was good and then damaged: it reads or refuses, and nothing else. */
import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../src/core/errors.ts';
import { encodeRpcFrame, RpcFrameReader } from '../../src/engine/mooncake/rpc-frame.ts';
import { decodeSegment } from '../../src/engine/segment-descriptor.ts';
import { InMemoryMetadataStore } from '../../src/metadata/in-memory/in-memory-store.ts';
import { decodeManifest } from '../../src/store/folder/manifest.ts';
import { completeCopies, objectOfPayload, segmentsOf } from '../../src/store/mooncake/payload-object.ts';
import { PayloadReader } from '../../src/store/mooncake/payload-reader.ts';
import { decodePayload, encodePayload } from '../../src/store/mooncake/payload-record.ts';
import { SegmentKinds } from '../../src/store/mooncake/segment-kinds.ts';
import { parseObjectKey, parseSourceKey } from '../../src/store/record-keys.ts';
import {
  decodeObjectRecord,
  decodeSourceRecord,
  encodeObjectRecord,
  encodeSourceRecord,
} from '../../src/store/records.ts';
import { Bitmap } from '../../src/swarm/bitmap.ts';
import { EnvelopeReader, encodeEnvelope } from '../../src/swarm/envelope.ts';
import { jsonCodec, protoCodec } from '../../src/swarm/follow-codec.ts';
import { CAPTURED_HANDSHAKE, CAPTURED_RECORDS, fromHex } from '../support/captured-frames.ts';
import { CAPTURED_WITH_REPLICA, CAPTURED_WITHOUT_GOLD } from '../support/captured-payloads.ts';
import { type Dice, fuzzRounds, mutateBytes, mutateJson, pick } from '../support/mutate.ts';
import { freshMemoryUri, recordingLogger } from '../support/test-store.ts';

const OBJECT = encodeObjectRecord('k', {
  ...{ version: 1, generation: 'g1', sizes: [3, 0, 5], maxShardSizeBytes: 65_536, pieceSizeBytes: 4_096 },
  digest: { algorithm: 'xxh64', root: '00ff' },
  folder: { manifestBytes: 4, manifestDigest: '0123456789abcdef', files: 1 },
});
const SOURCE = encodeSourceRecord('k', {
  ...{ version: 1, generation: 'g1', role: 'replica', isComplete: false, peerEndpoint: '10.0.0.1:4000' },
  ...{ addresses: [0x7f0000001000, 0], sizes: [7, 1] },
});
const PAYLOADS = [
  CAPTURED_WITH_REPLICA,
  CAPTURED_WITHOUT_GOLD,
  '{"name":"foo/bar","size":5,"size_list":[3,2],"max_shard_size":2,"shards":[{"size":2,"gold":[{"segment_name":"a","offset":18446744073709551615}],"replica_list":null},{"size":1,"gold":null,"replica_list":[]},{"size":2}]}',
];
/** Small parts of what these decoders refuse. */
const REFUSALS: readonly unknown[] = [ErrorCode.RecordInvalid, ErrorCode.InvalidArgument];

/** Runs a decoder; an error that is not ours is a finding. */
function readOrRefuse(repeat: string, decode: () => void): void {
  try {
    decode();
  } catch (error) {
    if (isP2PStoreError(error) && REFUSALS.includes(error.code)) return;
    throw new Error(`neither read nor refused: ${repeat}`, { cause: error });
  }
}

/** Damages JSON as JSON, or as bytes. */
function damaged(text: string | Uint8Array, dice: Dice): Buffer {
  const bytes = Buffer.from(text as string);
  return dice(3) === 0 ? mutateBytes(bytes, dice) : Buffer.from(mutateJson(bytes.toString(), dice));
}

describe('a damaged record', () => {
  test('of a Mooncake object is refused, or comes back as it was read', () => {
    for (const { dice, repeat } of fuzzRounds(3_000)) {
      const value = damaged(pick(PAYLOADS, dice), dice);
      readOrRefuse(repeat, () => {
        const payload = decodePayload('k', value);
        expect(decodePayload('k', encodePayload(payload)), repeat).toEqual(payload);
        segmentsOf(payload);
        for (const { ranges } of completeCopies(payload)) expect(ranges.length, repeat).toBe(payload.shards.length);
        const object = objectOfPayload(payload.name, payload);
        expect(object.sizes.every(Number.isSafeInteger), repeat).toBe(true);
      });
    }
  });

  test('of a segment, an object, a source or a folder is read or refused', () => {
    const { name, descriptor, location } = CAPTURED_RECORDS;
    const manifest = JSON.stringify({ version: 1, packed: [['a/b', 3]], mapped: [], emptyFolders: ['c'] });
    for (const { dice, repeat } of fuzzRounds(1_500)) {
      readOrRefuse(repeat, () => void decodeSegment(name, damaged(descriptor, dice), damaged(location, dice)));
      readOrRefuse(repeat, () => void decodeObjectRecord('k', damaged(OBJECT, dice)));
      readOrRefuse(repeat, () => void decodeSourceRecord('k', damaged(SOURCE, dice)));
      readOrRefuse(repeat, () => void decodeManifest('x', damaged(manifest, dice), manifest.length + 3));
      const key = damaged('p2pstore/v1/sources/a~1b/127.0.0.1:1', dice).toString();
      parseSourceKey(key);
      parseObjectKey(key);
    }
  });

  test('beside others ends no list and no search, and the others are still found', async () => {
    const logger = recordingLogger();
    await using metadata = new InMemoryMetadataStore(freshMemoryUri());
    const reader = new PayloadReader({ metadata, segments: new SegmentKinds(metadata, ''), logger });
    const put = (key: string, value: Uint8Array) => metadata.commit([], [{ kind: 'put', key, value }]);
    const segment = CAPTURED_RECORDS.name;
    await put('mooncake/checkpoint/good', Buffer.from(CAPTURED_WITHOUT_GOLD.replace('foo/bar', 'good')));
    for (const { dice, repeat } of fuzzRounds(300)) {
      await put('mooncake/checkpoint/foo/bar', damaged(pick(PAYLOADS, dice), dice));
      await put(`mooncake/ram/${segment}`, damaged(CAPTURED_RECORDS.descriptor, dice));
      const listed = await reader.list('', new Set());
      expect(
        listed.map(({ name }) => name),
        repeat,
      ).toContain('good');
      await reader.find('foo/bar').catch((error: unknown) => readOrRefuse(repeat, () => raise(error)));
      await reader.find('good');
    }
  });
});

function raise(error: unknown): never {
  throw error;
}

describe('a damaged message', () => {
  test('of the RPC port is read or refused, however it is cut', () => {
    const frames = [fromHex(CAPTURED_HANDSHAKE.request), fromHex(CAPTURED_HANDSHAKE.reply), encodeRpcFrame(3, '{}')];
    for (const { dice, repeat } of fuzzRounds(2_000)) {
      const bytes = mutateBytes(pick(frames, dice), dice, frames);
      const reader = new RpcFrameReader();
      const cut = dice(bytes.length + 1);
      readOrRefuse(repeat, () => void (reader.push(bytes.subarray(0, cut)) ?? reader.push(bytes.subarray(cut))));
    }
  });

  test('that follows an object is read, or refused with an error that ends its stream only', () => {
    const request = Buffer.from('0a036162631203646566', 'hex'); // two strings
    const json = '{"name":"abc","generation":"def"}';
    const answer = Buffer.from(
      protoCodec.encode({
        bitmap: new Uint8Array([255, 1]),
        added: [1, 2],
        changed: [3],
        digestRoot: new Uint8Array(8),
      }),
    );
    for (const { dice, repeat } of fuzzRounds(2_000)) {
      const envelopes: Buffer[] = [];
      const reader = new EnvelopeReader(1 << 20, (_flags, message) => envelopes.push(message));
      const stream = mutateBytes(encodeEnvelope(0, pick([request, answer, Buffer.from(json)], dice)), dice, [answer]);
      expectError(repeat, () => reader.push(stream));
      for (const message of envelopes) {
        expectError(repeat, () => void protoCodec.decodeRequest(message));
        expectError(repeat, () => void jsonCodec.decodeRequest(message));
      }
      const size = dice(100);
      const bitmap = Bitmap.decode(size, mutateBytes(Buffer.alloc(13, 0x55), dice));
      if (bitmap !== undefined)
        expect(
          [...bitmap].every((piece) => piece < size),
          repeat,
        ).toBe(true);
    }
  });
});

/** These may refuse with errors of the libraries below them: whoever reads a stream catches all. */
function expectError(repeat: string, read: () => void): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof Error)) throw new Error(repeat, { cause: error });
  }
}
