import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TransferEngine } from '../../../src/engine/transfer-engine.ts';
import { openEngine } from '../../support/engines.ts';
import { allocateBytes, expectSameBytes, fillPattern, type TestMemory } from '../../support/patterned-memory.ts';
import { connectRaw, headerOf, type RawClient } from '../../support/raw-client.ts';

const MEMORY_BYTES = 1024 * 1024;
const STATUS_BYTES = 8;
const SMALL = { at: 4096, lengthBytes: 1000 };
const LARGE = { at: 8192, lengthBytes: 512 * 1024 };
const WRITE_AT = 1_000_000;
const WRITTEN = Buffer.alloc(5000, 0x77);

describe('which worker serves a connection', () => {
  let engine: TransferEngine;
  let memory: TestMemory;

  beforeAll(async () => {
    engine = await openEngine({ ioWorkers: 3 });
    memory = allocateBytes(MEMORY_BYTES);
    fillPattern(memory.bytes, 5);
    await engine.registerLocalMemory(memory.address, MEMORY_BYTES, '*', { remoteAccess: 'read-write' });
  });
  afterAll(async () => {
    await engine.close();
    await memory.region.close();
  });

  function readHeader({ at, lengthBytes }: typeof SMALL): Buffer {
    return headerOf({ opcode: 'read', version: 2, lengthBytes, address: Number(memory.address) + at });
  }

  function writeHeader(): Buffer {
    const address = Number(memory.address) + WRITE_AT;
    return headerOf({ opcode: 'write', version: 2, lengthBytes: WRITTEN.length, address });
  }

  async function expectPayload(client: RawClient, { at, lengthBytes }: typeof SMALL): Promise<void> {
    const answer = await client.take(STATUS_BYTES + lengthBytes);
    expectSameBytes(answer.subarray(STATUS_BYTES), memory.bytes.subarray(at, at + lengthBytes));
  }

  /** What a peer may begin with. The listening worker looks at it first, and more connections than it keeps are made of each. */
  const BEGINNINGS: Readonly<Record<string, (client: RawClient) => Promise<void>>> = {
    'one small READ': async (client) => {
      client.send(readHeader(SMALL));
      await expectPayload(client, SMALL);
    },
    'a header in two parts': async (client) => {
      client.socket.setNoDelay(true);
      client.send(readHeader(LARGE).subarray(0, 10));
      await new Promise((resolve) => setTimeout(resolve, 20)); // so that the parts do not arrive as one
      client.send(readHeader(LARGE).subarray(10));
      await expectPayload(client, LARGE);
    },
    'two READs at once': async (client) => {
      client.send(readHeader(SMALL), readHeader(LARGE));
      await expectPayload(client, SMALL);
      await expectPayload(client, LARGE);
    },
    'a large READ': async (client) => {
      client.send(readHeader(LARGE));
      await expectPayload(client, LARGE);
    },
    'a WRITE': async (client) => {
      client.send(writeHeader(), WRITTEN);
      await client.take(STATUS_BYTES);
      expectSameBytes(memory.bytes.subarray(WRITE_AT, WRITE_AT + WRITTEN.length), WRITTEN);
    },
  };

  test.each(Object.entries(BEGINNINGS))(
    'what begins with %s gets the right bytes, and so does what follows',
    async (_, begin) => {
      await Promise.all(
        Array.from({ length: 12 }, async () => {
          await using client = await connectRaw(engine.dataPort);
          await begin(client);
          for (const request of [LARGE, SMALL]) {
            client.send(readHeader(request));
            await expectPayload(client, request);
          }
        }),
      );
    },
  );

  test('one that ends before it asks for anything leaves nothing behind', async () => {
    for (let round = 0; round < 20; round++) {
      await using client = await connectRaw(engine.dataPort);
      client.socket.end();
      expect((await client.end()).bytes).toHaveLength(0);
    }
  });
});
