import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../../../src/core/errors.ts';
import { RdmaTransfer } from '../../../../../src/engine/transport/rdma/rdma-transfer.ts';
import { segmentAt } from '../../../../support/engines.ts';

const failure = new P2PStoreError(ErrorCode.PeerUnreachable, 'Cannot go on: test', { peer: 'x' });
const giveUp = (): P2PStoreError => failure;

function setUp(lengthBytes: number) {
  const settled: unknown[] = [];
  const progress: number[] = [];
  const transfer = new RdmaTransfer(
    {
      opcode: 'read',
      segment: segmentAt(1),
      localAddress: 4096,
      remoteAddress: 8192,
      lengthBytes,
      onProgress: (bytes) => progress.push(bytes),
      onSettled: (error) => settled.push(error),
    },
    { range: { address: 4096, lengthBytes, isReadable: true, isWritable: false }, byCard: new Map(), preferred: [] },
    () => settled.push('forgotten'),
  );
  return { transfer, settled, progress };
}

describe('RdmaTransfer', () => {
  test('is cut into slices, and settles when the last has been moved', () => {
    const { transfer, settled, progress } = setUp(10);
    const slices = [transfer.take(4), transfer.take(4), transfer.take(4)];
    expect(slices).toMatchObject([
      { offset: 0, lengthBytes: 4 },
      { offset: 4, lengthBytes: 4 },
      { offset: 8, lengthBytes: 2 },
    ]);
    expect(transfer.hasUnsent).toBe(false);
    for (const slice of slices.toReversed()) {
      expect(settled).toEqual([]);
      transfer.onDone(slice);
    }
    expect(settled).toEqual(['forgotten', undefined]);
    expect(progress).toEqual([2, 4, 4]);
  });

  test('what was lost is sent again, in smaller parts if need be', () => {
    const { transfer, settled } = setUp(10);
    const first = transfer.take(8);
    const second = transfer.take(8);
    transfer.onLost(first, giveUp);
    expect(transfer.unsentBytes).toBe(8);
    const again = [transfer.take(5), transfer.take(5)];
    expect(again).toMatchObject([
      { offset: 0, lengthBytes: 5 },
      { offset: 5, lengthBytes: 3 },
    ]);
    for (const slice of [second, ...again]) transfer.onDone(slice);
    expect(settled).toEqual(['forgotten', undefined]);
  });

  test('a cancelled one settles only when nothing of it is posted', () => {
    const { transfer, settled, progress } = setUp(10);
    const slices = [transfer.take(4), transfer.take(4)];
    transfer.end('canceled');
    expect(transfer.hasUnsent).toBe(false);
    transfer.onDone(slices[0] ?? transfer.take(1));
    expect(settled).toEqual([]);
    transfer.onLost(slices[1] ?? transfer.take(1), giveUp);
    expect(settled).toEqual(['forgotten', 'canceled']);
    expect(progress).toEqual([]);
    transfer.end(failure);
    expect(settled).toHaveLength(2);
  });

  test('one that is lost for ever fails', () => {
    const { transfer, settled } = setUp(10);
    for (let round = 0; round < 200 && transfer.hasUnsent; round++) transfer.onLost(transfer.take(10), giveUp);
    expect(settled).toEqual(['forgotten', failure]);
  });
});
