import { describe, expect, test } from 'vitest';
import { EnvelopeReader, encodeEnvelope } from '../../../src/swarm/envelope.ts';

/** Reads what comes in chunks of one size. */
function readInChunks(bytes: Buffer, chunkBytes: number, messageBytesMax = 100): [flags: number, message: string][] {
  const seen: [number, string][] = [];
  const reader = new EnvelopeReader(messageBytesMax, (flags, message) => seen.push([flags, message.toString()]));
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.push(bytes.subarray(at, at + chunkBytes));
  return seen;
}

describe('EnvelopeReader', () => {
  const messages = ['one', '', 'three', 'x'.repeat(100)];
  const bytes = Buffer.concat(messages.map((message, flags) => encodeEnvelope(flags, Buffer.from(message))));

  test('reads envelopes however they are cut', () => {
    const expected = messages.map((message, flags) => [flags, message]);
    for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
      expect(readInChunks(bytes, chunkBytes)).toEqual(expected);
    }
  });

  test('throws at the header of a message that is too long, before the message comes', () => {
    for (const chunkBytes of [1, 5]) {
      const seen: string[] = [];
      const reader = new EnvelopeReader(99, (_flags, message) => seen.push(message.toString()));
      const header = encodeEnvelope(0, Buffer.alloc(100)).subarray(0, 5);
      const push = (): void => {
        for (let at = 0; at < 5; at += chunkBytes) reader.push(header.subarray(at, at + chunkBytes));
      };
      expect(push).toThrow(/100 bytes came, above the limit of 99/);
      expect(seen).toEqual([]);
    }
  });
});
