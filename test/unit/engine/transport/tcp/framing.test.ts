import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeHeader,
  decodeStatus,
  encodeHeader,
  encodeStatus,
  type FrameMemory,
  HEADER_BYTES,
  type Header,
  STATUS_BYTES,
} from '../../../../../src/engine/transport/tcp/framing.ts';
import { CAPTURED_HEADERS, CAPTURED_STATUSES, fromHex } from '../../../../support/captured-frames.ts';

function memoryOf(bytes: Uint8Array): FrameMemory {
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

function headerBytes(header: Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES, 0xff);
  encodeHeader(memoryOf(bytes), 0, header);
  return bytes;
}

describe('decodeHeader', () => {
  test.each(CAPTURED_HEADERS)('reads the captured $name', ({ hex, header }) => {
    expect(decodeHeader(memoryOf(fromHex(hex)), 0)).toEqual(header);
  });

  test('ignores the seven bytes of padding', () => {
    const bytes = headerBytes({ opcode: 'write', version: 2, lengthBytes: 48, address: 4096 });
    const expected = decodeHeader(memoryOf(bytes), 0);
    bytes.fill(0xa5, 17);
    expect(decodeHeader(memoryOf(bytes), 0)).toEqual(expected);
  });

  test('takes every opcode but 1 for a READ', () => {
    const bytes = Buffer.alloc(HEADER_BYTES);
    for (let opcode = 0; opcode < 256; opcode++) {
      bytes[16] = opcode;
      const { opcode: decoded, version } = decodeHeader(memoryOf(bytes), 0);
      expect({ opcode, decoded, version }).toEqual({
        opcode,
        decoded: (opcode & 0x7f) === 1 ? 'write' : 'read',
        version: opcode < 0x80 ? 1 : 2,
      });
    }
  });

  test('never throws, and never makes a hostile number small', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES }), (bytes) => {
        const { lengthBytes, address } = decodeHeader(memoryOf(bytes), 0);
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        expect(lengthBytes).toBe(Number(view.getBigUint64(0, true)));
        expect(address).toBe(Number(view.getBigUint64(8, true)));
      }),
    );
  });
});

describe('encodeHeader', () => {
  test.each(CAPTURED_HEADERS)('writes the captured $name, with zeros for padding', ({ hex, header }) => {
    const expected = fromHex(hex);
    expected.fill(0, 17); // the original leaves whatever was on its stack
    expect(headerBytes(header).toString('hex')).toBe(expected.toString('hex'));
  });

  test('puts into the padding when a READ may be refused, under an opcode that the original serves as a READ', () => {
    const refuseWhen = { queuedBytes: 0x01_02_03 * 1024, sentWithinMs: 0x04_05_06_07 };
    const header: Header = { opcode: 'read', version: 2, lengthBytes: 1, address: 2, refuseWhen };
    const bytes = headerBytes(header);
    expect(bytes.subarray(16).toString('hex')).toBe('c003020107060504');
    expect(decodeHeader(memoryOf(bytes), 0)).toEqual(header);
  });

  test('rounds the bounds of a refusal up, and keeps them in their fields', () => {
    const bounds = [
      { queuedBytes: 1, sentWithinMs: 0.5 },
      { queuedBytes: 2 ** 40, sentWithinMs: 2 ** 40 },
    ];
    const read = bounds.map((refuseWhen) => {
      const bytes = headerBytes({ opcode: 'read', version: 2, lengthBytes: 1, address: 2, refuseWhen });
      return decodeHeader(memoryOf(bytes), 0).refuseWhen;
    });
    expect(read).toEqual([
      { queuedBytes: 1024, sentWithinMs: 1 },
      { queuedBytes: 0xff_ffff * 1024, sentWithinMs: 0xffff_ffff },
    ]);
  });

  test('is undone by decodeHeader, at any offset', () => {
    const header = fc.record({
      opcode: fc.constantFrom('read' as const, 'write' as const),
      version: fc.constantFrom(1 as const, 2 as const),
      lengthBytes: fc.maxSafeNat(),
      address: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(header, fc.nat(40), (value, offset) => {
        const bytes = Buffer.alloc(offset + HEADER_BYTES + 8, 0x5a);
        encodeHeader(memoryOf(bytes), offset, value);
        expect(decodeHeader(memoryOf(bytes), offset)).toEqual(value);
        expect(bytes.subarray(0, offset).every((byte) => byte === 0x5a)).toBe(true);
        expect(bytes.subarray(offset + HEADER_BYTES).every((byte) => byte === 0x5a)).toBe(true);
      }),
    );
  });
});

describe('statuses', () => {
  test('encodeStatus() writes the captured bytes', () => {
    for (const status of ['ok', 'rejected'] as const) {
      const bytes = Buffer.alloc(STATUS_BYTES);
      encodeStatus(memoryOf(bytes), 0, status);
      expect(bytes.toString('hex')).toBe(fromHex(CAPTURED_STATUSES[status]).toString('hex'));
    }
  });

  test('decodeStatus() tells OK, refusals and payload of a peer that sends no status', () => {
    expect(decodeStatus(memoryOf(fromHex(CAPTURED_STATUSES.ok)), 0)).toBe('ok');
    expect(decodeStatus(memoryOf(fromHex(CAPTURED_STATUSES.rejected)), 0)).toBe('rejected');
    expect(decodeStatus(memoryOf(fromHex('02000000 5654434d')), 0)).toBe('busy');
    expect(decodeStatus(memoryOf(fromHex('03000000 5654434d')), 0)).toBe('sent');
    expect(decodeStatus(memoryOf(fromHex('04000000 5654434d')), 0)).toBe('rejected');
    expect(decodeStatus(memoryOf(fromHex('078a0d90 1396199c')), 0)).toBe('legacy');
    expect(decodeStatus(memoryOf(Buffer.alloc(STATUS_BYTES)), 0)).toBe('legacy');
  });

  test('decodeStatus() takes only the one value for OK', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: STATUS_BYTES, maxLength: STATUS_BYTES }), (bytes) => {
        const isOk = Buffer.from(bytes).equals(fromHex(CAPTURED_STATUSES.ok));
        expect(decodeStatus(memoryOf(bytes), 0) === 'ok').toBe(isOk);
      }),
    );
  });
});
