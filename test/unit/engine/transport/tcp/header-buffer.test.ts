import { describe, expect, test } from 'vitest';
import { encodeHeader, HEADER_BYTES } from '../../../../../src/engine/transport/tcp/framing.ts';
import { HEADER_BUFFER_BYTES, HeaderBuffer } from '../../../../../src/engine/transport/tcp/header-buffer.ts';

const BASE = 4096;
const OFFSET = 64;

function memory(): { address: number; view: DataView; bytes: Uint8Array<ArrayBuffer> } {
  const bytes = new Uint8Array(OFFSET + HEADER_BUFFER_BYTES);
  return { address: BASE, bytes, view: new DataView(bytes.buffer) };
}

/** `count` headers that ask for 1, 2, 3 ... bytes. */
function stream(count: number): Uint8Array {
  const bytes = new Uint8Array(count * HEADER_BYTES);
  for (let index = 0; index < count; index++) {
    const header = { opcode: 'read', version: 2, lengthBytes: index + 1, address: 1000 } as const;
    encodeHeader({ view: new DataView(bytes.buffer) }, index * HEADER_BYTES, header);
  }
  return bytes;
}

describe('HeaderBuffer', () => {
  test.each([1, 7, 24, 25, 100, 1000, HEADER_BUFFER_BYTES])(
    'finds every header of a stream that comes in parts of %i bytes',
    (part) => {
      const place = memory();
      const buffer = new HeaderBuffer(place, OFFSET);
      const source = stream(200);
      const found: number[] = [];
      for (let at = 0; at < source.length; ) {
        const target = buffer.fillAddress - BASE;
        const chunk = source.subarray(at, at + Math.min(part, buffer.roomBytes(false)));
        place.bytes.set(chunk, target);
        buffer.fill(chunk.length);
        at += chunk.length;
        while (buffer.hasHeader) {
          found.push(buffer.peek().lengthBytes);
          buffer.take(HEADER_BYTES);
        }
      }
      expect(found).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
      expect(buffer.lengthBytes).toBe(0);
    },
  );

  test('never asks for more than its place holds, or than one header where only that is wanted', () => {
    const buffer = new HeaderBuffer(memory(), OFFSET);
    expect(buffer.roomBytes(false)).toBe(HEADER_BUFFER_BYTES);
    expect(buffer.roomBytes(true)).toBe(HEADER_BYTES);
    buffer.fill(10);
    expect(buffer.fillAddress).toBe(BASE + OFFSET + 10);
    expect(buffer.roomBytes(false)).toBe(HEADER_BUFFER_BYTES - 10);
    expect(buffer.roomBytes(true)).toBe(HEADER_BYTES - 10);
    buffer.clear();
    expect(buffer.fillAddress).toBe(BASE + OFFSET);
  });
});
