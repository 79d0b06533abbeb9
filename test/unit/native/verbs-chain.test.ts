import { describe, expect, test } from 'vitest';
import { type OneSidedRequest, SendChain } from '../../../src/native/verbs-chain.ts';
import type { DeviceFunctions } from '../../../src/native/verbs-device.ts';
import { viewMemory } from '../../../src/native/view.ts';

const read: OneSidedRequest = {
  id: 2 ** 40 + 5,
  opcode: 'read',
  localAddress: 0x7fff_1234_5000,
  localKey: 0xaabb_ccdd,
  remoteAddress: 0x7eee_0000_1000,
  remoteKey: 0x1122_3344,
  lengthBytes: 0x8000_0000,
};

/** A queue pair that keeps what it is handed, field by field as the C structures lie in memory. */
class RecordingPair {
  readonly requests: Record<string, bigint | number>[] = [];
  /** Of which request on the queue is full. */
  readonly room: number;

  constructor(room: number) {
    this.room = room;
  }

  get functions(): DeviceFunctions {
    return {
      postSend: (_pair, first, bad) => this.#post(first, bad),
      pollCq: () => 0,
      requestNotify: () => 0,
    };
  }

  #post(first: number, bad: number): number {
    for (let at = first; at !== 0; ) {
      if (this.requests.length === this.room) {
        viewOf(bad, 8).setBigUint64(0, BigInt(at), true);
        return 12;
      }
      const request = viewOf(at, 128);
      const sge = viewOf(Number(request.getBigUint64(16, true)), 16);
      this.requests.push({
        id: request.getBigUint64(0, true),
        sges: request.getInt32(24, true),
        opcode: request.getInt32(28, true),
        flags: request.getUint32(32, true),
        remoteAddress: request.getBigUint64(40, true),
        remoteKey: request.getUint32(48, true),
        address: sge.getBigUint64(0, true),
        length: sge.getUint32(8, true),
        localKey: sge.getUint32(12, true),
      });
      at = Number(request.getBigUint64(8, true));
    }
    return 0;
  }
}

function viewOf(address: number, lengthBytes: number): DataView {
  const bytes = viewMemory(address, lengthBytes);
  return new DataView(bytes.buffer, bytes.byteOffset, lengthBytes);
}

describe('SendChain', () => {
  test('lays requests out as verbs read them, and links them in order', () => {
    const chain = new SendChain(4);
    const pair = new RecordingPair(10);
    chain.add(read);
    chain.add({ ...read, id: 6, opcode: 'write', lengthBytes: 1 });
    chain.add({ ...read, id: 7, opcode: 'write', lengthBytes: 0 });
    expect(chain.post(pair.functions, 1)).toEqual({ posted: 3 });
    const first = {
      id: 2n ** 40n + 5n,
      sges: 1,
      opcode: 4,
      flags: 2,
      remoteAddress: 0x7eee_0000_1000n,
      remoteKey: 0x1122_3344,
      address: 0x7fff_1234_5000n,
      length: 0x8000_0000,
      localKey: 0xaabb_ccdd,
    };
    expect(pair.requests).toEqual([
      first,
      { ...first, id: 6n, opcode: 0, length: 1 },
      { ...first, id: 7n, opcode: 0, length: 0, sges: 0 },
    ]);
    chain.free();
  });

  test('is empty after a post, and links nothing of the one before', () => {
    const chain = new SendChain(4);
    chain.add(read);
    chain.add(read);
    chain.post(new RecordingPair(10).functions, 1);
    expect(chain.length).toBe(0);
    const pair = new RecordingPair(10);
    chain.add(read);
    expect(chain.post(pair.functions, 1)).toEqual({ posted: 1 });
    expect(pair.requests).toHaveLength(1);
    expect(chain.post(pair.functions, 1)).toEqual({ posted: 0 });
    chain.free();
  });

  test('tells how many a full queue took', () => {
    const chain = new SendChain(4);
    for (let id = 0; id < 4; id++) chain.add({ ...read, id });
    expect(chain.isFull).toBe(true);
    const { posted, error } = chain.post(new RecordingPair(3).functions, 1);
    expect(posted).toBe(3);
    expect(error).toMatchObject({ context: { errnoName: 'ENOMEM' } });
    chain.free();
  });
});
