import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../../../src/core/errors.ts';
import { RequestProgress, type Slice } from '../../../../../src/engine/transport/tcp/slice.ts';
import type { TransportRequest } from '../../../../../src/engine/transport/transport.ts';

const segment = { name: 'peer', host: '127.0.0.1', port: 1, protocolVersion: 2, buffers: [] } as const;

function start(
  lengthBytes: number,
  sliceBytes: number,
): { progress: RequestProgress; outcomes: unknown[]; moved: number[]; settled: Slice[] } {
  const outcomes: unknown[] = [];
  const moved: number[] = [];
  const settled: Slice[] = [];
  const request: TransportRequest = {
    opcode: 'read',
    segment,
    localAddress: 4096,
    remoteAddress: 8192,
    lengthBytes,
    onProgress: (bytes) => moved.push(bytes),
    onSettled: (error) => outcomes.push(error),
  };
  let id = 0;
  const progress = new RequestProgress(
    request,
    sliceBytes,
    () => ++id,
    (slice) => settled.push(slice),
  );
  return { progress, outcomes, moved, settled };
}

const failure = new P2PStoreError(ErrorCode.PeerUnreachable, 'Cannot reach: test', { peer: 'peer' });

describe('RequestProgress', () => {
  test('cuts a request into slices that cover it once, in order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 90 }), (lengthBytes, sliceBytes) => {
        const { slices } = start(lengthBytes, sliceBytes).progress;
        let offset = 0;
        for (const slice of slices) {
          expect(slice.offset).toBe(offset);
          expect(slice.lengthBytes).toBeGreaterThan(0);
          expect(slice.lengthBytes).toBeLessThanOrEqual(sliceBytes);
          offset += slice.lengthBytes;
        }
        expect(offset).toBe(lengthBytes);
        expect(new Set(slices.map(({ id }) => id)).size).toBe(slices.length);
      }),
    );
  });

  test('settles once, with the last slice, in whatever order they end', () => {
    const { progress, outcomes, moved, settled } = start(10, 4);
    const order = [2, 0, 1].map((index) => progress.slices[index]).filter((slice) => slice !== undefined);
    for (const slice of order) {
      expect(outcomes).toEqual([]);
      progress.settle(slice);
    }
    expect(outcomes).toEqual([undefined]);
    expect(moved).toEqual([2, 4, 4]);
    expect(settled).toEqual(order);
    expect(progress.isSettled).toBe(true);
  });

  test('tells of bytes as they come, each once, also when a slice is asked for again', () => {
    const { progress, moved } = start(10, 10);
    const [slice] = progress.slices;
    if (slice === undefined) throw new Error('a slice is wanted');
    for (const bytes of [4, 6, 2, 6, 7]) progress.note(slice, bytes);
    progress.settle(slice);
    expect(moved).toEqual([4, 2, 1, 3]);
  });

  test('keeps the first error, and waits for the other slices all the same', () => {
    const { progress, outcomes, moved } = start(10, 4);
    const [first, second, third] = progress.slices;
    if (first === undefined || second === undefined || third === undefined) throw new Error('three slices are wanted');
    progress.settle(first, failure);
    expect(progress.hasFailed).toBe(true);
    progress.settle(second, 'canceled');
    expect(outcomes).toEqual([]);
    progress.settle(third);
    expect(outcomes).toEqual([failure]);
    expect(moved).toEqual([2]);
  });
});
