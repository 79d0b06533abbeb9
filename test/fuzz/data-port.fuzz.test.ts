/** The data port under frames that were captured and then damaged, over real sockets. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { CAPTURED_HEADERS, CAPTURED_WRITE_BODY, fromHex } from '../support/captured-frames.ts';
import { openEngine } from '../support/engines.ts';
import { type Dice, fuzzRounds, mutateBytes, pick } from '../support/mutate.ts';
import { allocateBytes, expectSameBytes, firstOtherThan, type TestMemory } from '../support/patterned-memory.ts';
import { connectRaw, headerOf, type RawClient, redirected } from '../support/raw-client.ts';

const GUARD_BYTES = 64 * 1024;
const BUFFER_BYTES = 64 * 1024;
/** What lies around the registered memory; three in a row in an answer are a leak. */
const SECRET = 0xa7;
const LEAK = Buffer.alloc(3, SECRET);
const ANSWER_MS = 20_000;

let server: TransferEngine;
/** Guard, read-only, guard, writable, guard. */
let area: TestMemory;
let readOnly: Uint8Array;
let writable: Uint8Array;
let readOnlyAddress: bigint;
let frames: readonly Buffer[];

beforeAll(async () => {
  area = allocateBytes(3 * GUARD_BYTES + 2 * BUFFER_BYTES, SECRET);
  readOnlyAddress = area.address + BigInt(GUARD_BYTES);
  const writableAddress = readOnlyAddress + BigInt(BUFFER_BYTES + GUARD_BYTES);
  readOnly = area.bytes.subarray(GUARD_BYTES, GUARD_BYTES + BUFFER_BYTES);
  writable = area.bytes.subarray(2 * GUARD_BYTES + BUFFER_BYTES, 2 * (GUARD_BYTES + BUFFER_BYTES));
  for (let at = 0; at < BUFFER_BYTES; at++) readOnly[at] = writable[at] = at % 127;
  server = await openEngine();
  await server.registerLocalMemory(readOnlyAddress, BUFFER_BYTES, '*', { remoteAccess: 'read' });
  await server.registerLocalMemory(writableAddress, BUFFER_BYTES, '*', { remoteAccess: 'read-write' });
  const refusable = headerOf({
    ...{ opcode: 'read', version: 2, lengthBytes: 4_096, address: Number(readOnlyAddress) },
    refuseWhen: { queuedBytes: 1_024, sentWithinMs: 1_000 },
  });
  frames = [
    refusable,
    ...CAPTURED_HEADERS.flatMap(({ hex, header }) => {
      const body = header.opcode === 'write' ? fromHex(CAPTURED_WRITE_BODY) : Buffer.alloc(0);
      return [readOnlyAddress, writableAddress].map((address) =>
        Buffer.concat([redirected(fromHex(hex), address), body]),
      );
    }),
  ];
});

afterAll(async () => {
  await server.close();
  await area.region.close();
});

/** One to four requests on one connection; each is damaged, or none but the last. */
function damagedRequests(dice: Dice): Buffer {
  const requests = Array.from({ length: 1 + dice(4) }, () => pick(frames, dice));
  const isLastOnly = dice(2) === 0;
  const parts = requests.map((frame, index) =>
    isLastOnly && index < requests.length - 1 ? frame : mutateBytes(frame, dice, frames),
  );
  return Buffer.concat(parts);
}

/** Sends in one part or in many, and ends, or just goes. */
async function send(client: RawClient, bytes: Buffer, dice: Dice): Promise<boolean> {
  const cut = dice(2) === 0 ? bytes.length : dice(bytes.length + 1);
  client.send(bytes.subarray(0, cut));
  if (cut < bytes.length) {
    await new Promise(setImmediate);
    client.send(bytes.subarray(cut));
  }
  if (dice(8) === 0) {
    client.socket.resetAndDestroy();
    return false;
  }
  client.socket.end();
  return true;
}

async function within<T>(promise: Promise<T>, repeat: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${ANSWER_MS} ms: ${repeat}`)), ANSWER_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

test('no damaged frame reads or writes what it may not, hangs, or disturbs other connections', {
  timeout: 900_000,
}, async () => {
  await using other = await connectRaw(server.dataPort);
  const question = headerOf({ opcode: 'read', version: 2, lengthBytes: 1_000, address: Number(readOnlyAddress) });
  for (const { dice, repeat } of fuzzRounds(600)) {
    await using client = await connectRaw(server.dataPort);
    const bytes = damagedRequests(dice);
    if (await send(client, bytes, dice)) {
      const { bytes: answer } = await within(client.end(), repeat);
      if (answer.includes(LEAK) && !bytes.includes(LEAK)) throw new Error(`memory leaked: ${repeat}`);
    }
    other.send(question);
    const answer = await within(other.take(1_008), repeat);
    if (!answer.subarray(8).equals(readOnly.subarray(0, 1_000)))
      throw new Error(`another connection is off: ${repeat}`);
  }
  for (let at = 0; at < BUFFER_BYTES; at++)
    if (readOnly[at] !== at % 127) throw new Error('read-only memory was written');
  for (let guard = 0; guard < 3; guard++) {
    const start = guard * (GUARD_BYTES + BUFFER_BYTES);
    expect(firstOtherThan(area.bytes.subarray(start, start + GUARD_BYTES), SECRET)).toBe(-1);
  }
  await using fresh = await connectRaw(server.dataPort);
  fresh.send(question);
  expectSameBytes((await fresh.take(1_008)).subarray(8), readOnly.subarray(0, 1_000));
});
