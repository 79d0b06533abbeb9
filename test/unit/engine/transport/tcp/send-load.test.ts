import { describe, expect, test } from 'vitest';
import { createSendLoad, SendLoad } from '../../../../../src/engine/transport/tcp/send-load.ts';

const MIB = 1024 * 1024;
const address = 0x7f3a_1000_0000;

describe('SendLoad', () => {
  test('tells busy from what all workers have to send, until it is sent', () => {
    const shared = createSendLoad();
    const [one, other] = [new SendLoad(shared), new SendLoad(shared)];
    const asked = { queuedBytes: 2 * MIB, sentWithinMs: 0 };
    one.begin(address, MIB, 0);
    expect(other.refusal(address, asked, 0)).toBeUndefined();
    other.begin(address + MIB, MIB, 0);
    expect(one.refusal(address, asked, 0)).toBe('busy');
    expect(one.refusal(address, { ...asked, queuedBytes: 2 * MIB + 1 }, 0)).toBeUndefined();
    one.end(MIB);
    expect(other.refusal(address, asked, 0)).toBeUndefined();
  });

  test('tells sent for the same address only, and for as long as was asked', () => {
    const shared = createSendLoad();
    const [one, other] = [new SendLoad(shared), new SendLoad(shared)];
    const asked = { queuedBytes: 1024 * MIB, sentWithinMs: 100 };
    one.begin(address, MIB, 5_000.9);
    expect(other.refusal(address, asked, 5_001)).toBe('sent');
    expect(other.refusal(address, asked, 5_099)).toBe('sent');
    expect(other.refusal(address, asked, 5_100)).toBeUndefined();
    expect(other.refusal(address, { ...asked, sentWithinMs: 0 }, 5_001)).toBeUndefined();
    expect(other.refusal(address + MIB, asked, 5_001)).toBeUndefined();
  });

  test('keeps thousands of pieces apart, wherever they lie', () => {
    const load = new SendLoad(createSendLoad());
    const asked = { queuedBytes: Number.MAX_SAFE_INTEGER, sentWithinMs: 1_000 };
    const pieces = Array.from({ length: 2_000 }, (_, at) => address + at * 256 * 1024);
    for (const piece of pieces) load.begin(piece, 1, 0);
    const known = pieces.filter((piece) => load.refusal(piece, asked, 1) === 'sent').length;
    expect(known).toBeGreaterThan(1_700); // a clash forgets, it never invents
    const unsent = pieces.map((piece) => piece + 2 ** 40);
    expect(unsent.filter((piece) => load.refusal(piece, asked, 1) === 'sent')).toEqual([]);
  });

  test('bears the wrap of its clock after 24 days', () => {
    const load = new SendLoad(createSendLoad());
    const nowMs = 2 ** 31 - 5;
    load.begin(address, MIB, nowMs);
    expect(load.refusal(address, { queuedBytes: 1024 * MIB, sentWithinMs: 100 }, nowMs + 10)).toBe('sent');
  });
});
