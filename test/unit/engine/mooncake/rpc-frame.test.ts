import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { encodeRpcFrame, type RpcFrame, RpcFrameReader } from '../../../../src/engine/mooncake/rpc-frame.ts';
import { CAPTURED_EMPTY_DESCRIPTOR, CAPTURED_HANDSHAKE, fromHex } from '../../../support/captured-frames.ts';

function read(bytes: Buffer, cuts: readonly number[] = []): RpcFrame | undefined {
  const reader = new RpcFrameReader();
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    const frame = reader.push(bytes.subarray(from, cut));
    from = cut;
    if (frame !== undefined) return frame;
  }
  return undefined;
}

function frameOf(length: bigint, payload: string | Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(length);
  return Buffer.concat([head, Buffer.from(payload)]);
}

describe('encodeRpcFrame', () => {
  test('writes the request that a real engine sent, byte for byte', () => {
    expect(encodeRpcFrame(1, CAPTURED_EMPTY_DESCRIPTOR)).toEqual(fromHex(CAPTURED_HANDSHAKE.request));
  });

  test('writes the smallest request, and a newline where there is none', () => {
    expect(encodeRpcFrame(1, '{}')).toEqual(fromHex('0400000000000000 01 7b7d0a'));
    expect(encodeRpcFrame(undefined, '{}')).toEqual(fromHex('0300000000000000 7b7d0a'));
  });
});

describe('RpcFrameReader', () => {
  test('reads the captured exchange', () => {
    expect(read(fromHex(CAPTURED_HANDSHAKE.request))).toEqual({ type: 1, body: JSON.parse(CAPTURED_EMPTY_DESCRIPTOR) });
    expect(read(fromHex(CAPTURED_HANDSHAKE.reply))).toMatchObject({
      type: 1,
      body: { name: '127.0.0.1:16995', tcp_data_port: 16_791, buffers: [{ addr: 0x7fa6_2e1a_6000, length: 65_536 }] },
    });
  });

  test('gives the same frame however it is cut', () => {
    const bytes = fromHex(CAPTURED_HANDSHAKE.reply);
    const whole = read(bytes);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        expect(
          read(
            bytes,
            cuts.toSorted((a, b) => a - b),
          ),
        ).toEqual(whole);
      }),
    );
    expect(read(bytes, Array.from(bytes.keys()))).toEqual(whole);
  });

  test('takes a body without a type for a handshake of an older peer', () => {
    expect(read(frameOf(3n, '{}\n'))).toEqual({ type: undefined, body: {} });
  });

  test('waits for what is missing', () => {
    const bytes = encodeRpcFrame(3, '{}');
    for (let length = 0; length < bytes.length; length++) expect(read(bytes.subarray(0, length))).toBeUndefined();
  });

  test.each([
    ['a length of 0', frameOf(0n, '')],
    ['a length above the limit', frameOf(1_048_577n, '')],
    ['the largest length there is', frameOf(2n ** 64n - 1n, '')],
    ['a type above 127', frameOf(3n, Buffer.from([0xff, 0x7b, 0x7d]))],
    ['a body that is no JSON', frameOf(3n, Buffer.from([1, 0x7b, 0x7b]))],
    ['a body that is no UTF-8', frameOf(4n, Buffer.from([1, 0x22, 0xff, 0x22]))],
    ['a type without a body', frameOf(1n, Buffer.from([1]))],
  ])('refuses %s', (_what, bytes) => {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: ErrorCode.RecordInvalid }));
  });
});
