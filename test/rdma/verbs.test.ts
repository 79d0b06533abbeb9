import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CardPair, type CardWork, RdmaCard } from '../../src/engine/transport/rdma/rdma-card.ts';
import { discoverRdmaDevices } from '../../src/engine/transport/rdma/rdma-devices.ts';
import { type CardMemory, deregisterCardMemory, registerCardMemory } from '../../src/native/verbs-memory.ts';
import { completionStatusText } from '../../src/native/verbs-queue.ts';
import { allocateBytes, expectSameBytes, fillPattern, type TestMemory } from '../support/patterned-memory.ts';

const SIZE = 64 * 1024;

describe('a card', () => {
  let card: RdmaCard;
  let local: TestMemory;
  let remote: TestMemory;
  let localMemory: CardMemory;
  let remoteMemory: CardMemory;

  beforeAll(async () => {
    const info = discoverRdmaDevices().devices.find(({ name }) => name === 'rxe0');
    if (info === undefined) throw new Error('the guest has a card rxe0');
    card = new RdmaCard(info, () => {});
    local = allocateBytes(SIZE);
    remote = allocateBytes(SIZE);
    fillPattern(remote.bytes, 3);
    const nobody = { isReadable: false, isWritable: false };
    localMemory = await registerCardMemory(card.device, Number(local.address), SIZE, nobody);
    remoteMemory = await registerCardMemory(card.device, Number(remote.address), SIZE, { ...nobody, isReadable: true });
  });

  afterAll(async () => {
    await Promise.all([deregisterCardMemory(localMemory), deregisterCardMemory(remoteMemory)]);
    card.close();
    await Promise.all([local.region.close(), remote.region.close()]);
  });

  async function withPair<T>(use: (pair: CardPair) => Promise<T>): Promise<T> {
    const [near, far] = [card.createPair(), card.createPair()];
    card.connectPair(near, { queuePair: far.pair.number, gid: card.gid, lid: 0 });
    card.connectPair(far, { queuePair: near.pair.number, gid: card.gid, lid: 0 });
    try {
      return await use(near);
    } finally {
      await Promise.all([card.destroyPair(near), card.destroyPair(far)]);
    }
  }

  /** Posts requests with these keys, and waits for what becomes of them. */
  function statusesOf(pair: CardPair, works: readonly Partial<CardWork>[]): Promise<number[]> {
    return new Promise((resolve) => {
      const statuses: number[] = [];
      const onCompleted = (status: number): void => {
        if (statuses.push(status) === works.length) resolve(statuses);
      };
      const usual = {
        opcode: 'read' as const,
        localAddress: Number(local.address),
        localKey: localMemory.localKey,
        remoteAddress: Number(remote.address),
        remoteKey: remoteMemory.remoteKey,
        lengthBytes: SIZE,
        onCompleted,
      };
      card.post(
        pair,
        works.map((work) => ({ ...usual, ...work })),
      );
      card.watch();
    });
  }

  test('reads', async () => {
    expect(await withPair((pair) => statusesOf(pair, [{}, {}]))).toEqual([0, 0]);
    expectSameBytes(local.bytes, remote.bytes);
  });

  test('refuses a wrong key, and flushes what comes after it', async () => {
    local.bytes.fill(0);
    const statuses = await withPair((pair) => statusesOf(pair, [{ remoteKey: remoteMemory.remoteKey ^ 0x55 }, {}]));
    expect(statuses).toEqual([10, 5]);
    expect(completionStatusText(10)).toBe('remote access error');
    expect(local.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test('refuses to write to what may only be read', async () => {
    expect(await withPair((pair) => statusesOf(pair, [{ opcode: 'write' }]))).toEqual([10]);
  });

  test('takes more requests in one call than one chain holds', async () => {
    const many = new Array<Partial<CardWork>>(100).fill({ lengthBytes: 8 });
    expect(await withPair((pair) => statusesOf(pair, many))).toEqual(new Array(100).fill(0));
  });

  test('what it cannot register it says: no memory there, a dma-buf that the driver does not take', async () => {
    const access = { isReadable: true, isWritable: false };
    await expect(registerCardMemory(card.device, 4096, SIZE, access)).rejects.toMatchObject({
      context: { errnoName: 'EFAULT' },
    });
    // The address is that of memory of a device: nothing here looks at it but the driver, which gets file and offset.
    const asked = registerCardMemory(card.device, 0x7f00_0000_0000, SIZE, access, { fd: 0, offset: 4096 });
    await expect(asked).rejects.toMatchObject({
      message: expect.stringContaining('ibv_reg_dmabuf_mr'),
      context: { errnoName: 'EOPNOTSUPP' },
    });
  });
});
