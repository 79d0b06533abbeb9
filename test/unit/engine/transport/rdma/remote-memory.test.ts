import { describe, expect, test } from 'vitest';
import type { RemoteRange } from '../../../../../src/engine/transport/rdma/handshake.ts';
import { RemoteMemory } from '../../../../../src/engine/transport/rdma/remote-memory.ts';

function range(address: number, lengthBytes: number, key = 1): RemoteRange {
  return { address, lengthBytes, isReadable: true, isWritable: false, keys: { mlx5_0: key }, preferred: [] };
}

/** A peer with these registrations. */
function peerWith(registered: RemoteRange[]) {
  const questions: (readonly number[])[] = [];
  const memory = new RemoteMemory((addresses) => {
    questions.push(addresses);
    const holds = (address: number) => (r: RemoteRange) => address >= r.address && address < r.address + r.lengthBytes;
    return Promise.resolve(addresses.map((address) => registered.find(holds(address)) ?? null));
  });
  return { memory, questions, registered };
}

describe('RemoteMemory', () => {
  test('asks once for all that is wanted in one turn, and remembers', async () => {
    const { memory, questions } = peerWith([range(100, 50), range(200, 50)]);
    expect(memory.find(110, 10)).toBeUndefined();
    await Promise.all([memory.learn(110), memory.learn(210), memory.learn(110)]);
    expect(questions).toEqual([[110, 210]]);
    expect(memory.find(110, 40)).toEqual(range(100, 50));
    expect(memory.find(110, 41)).toBeUndefined();
    expect(memory.find(240, 10)).toEqual(range(200, 50));
  });

  test('what a peer registered anew replaces what lay there', async () => {
    const peer = peerWith([range(100, 50), range(150, 50)]);
    await Promise.all([peer.memory.learn(100), peer.memory.learn(150)]);
    peer.registered.splice(0, 2, range(120, 60, 2));
    await peer.memory.learn(130);
    expect(peer.memory.find(130, 10)?.keys).toEqual({ mlx5_0: 2 });
    expect(peer.memory.find(100, 10)).toBeUndefined();
    expect(peer.memory.find(190, 5)).toBeUndefined();
  });

  test('what is gone is forgotten', async () => {
    const peer = peerWith([range(100, 50)]);
    await peer.memory.learn(100);
    peer.registered.splice(0);
    await peer.memory.learn(120);
    expect(peer.memory.find(100, 1)).toBeUndefined();
  });
});
