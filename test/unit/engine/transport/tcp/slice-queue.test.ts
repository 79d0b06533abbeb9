import { beforeEach, describe, expect, test } from 'vitest';
import { RequestProgress, type Slice } from '../../../../../src/engine/transport/tcp/slice.ts';
import { SliceQueue } from '../../../../../src/engine/transport/tcp/slice-queue.ts';
import { segmentAt } from '../../../../support/engines.ts';

function slicesOf(flow: number, count: number, sliceBytes = 10): readonly Slice[] {
  const request = {
    opcode: 'read',
    segment: segmentAt(9),
    localAddress: 4096,
    remoteAddress: 8192,
    lengthBytes: count * sliceBytes,
    onProgress: () => {},
    onSettled: () => {},
  } as const;
  let id = flow * 100;
  return new RequestProgress(
    request,
    sliceBytes,
    () => id++,
    () => {},
    flow,
  ).slices;
}

describe('SliceQueue', () => {
  let queue: SliceQueue;
  const push = (slices: readonly Slice[]): void => slices.forEach((slice) => void queue.push(slice));
  const takeIds = (count: number): (number | undefined)[] => Array.from({ length: count }, () => queue.take()?.id);

  beforeEach(() => {
    queue = new SliceQueue();
  });

  test('hands out the slices of one flow in order', () => {
    push(slicesOf(0, 3));
    expect([queue.length, queue.bytes]).toEqual([3, 30]);
    expect(takeIds(4)).toEqual([0, 1, 2, undefined]);
    expect([queue.length, queue.bytes]).toEqual([0, 0]);
  });

  test('takes of the flow that has the least under way, however much of another was there before', () => {
    push(slicesOf(1, 50));
    takeIds(10);
    push(slicesOf(2, 50));
    expect(takeIds(10).every((id) => (id ?? 0) >= 200)).toBe(true);
    expect(takeIds(4).filter((id) => (id ?? 0) >= 200)).toHaveLength(2);
  });

  test('lets the requests of a flow take turns, and those of no flow none', () => {
    push(slicesOf(1, 2));
    push(slicesOf(1, 2).map((slice) => ({ ...slice, id: slice.id + 50 })));
    expect(takeIds(4)).toEqual([100, 150, 101, 151]);
    push(slicesOf(0, 2));
    push(slicesOf(0, 2).map((slice) => ({ ...slice, id: slice.id + 50 })));
    expect(takeIds(4)).toEqual([0, 1, 50, 51]);
  });

  test('counts what has come back as not under way', () => {
    const slices = slicesOf(1, 3);
    push(slices);
    push(slicesOf(2, 3));
    expect(takeIds(2)).toEqual([100, 200]);
    for (const slice of slices.slice(0, 1)) queue.settle(slice);
    expect(takeIds(1)).toEqual([101]);
  });

  test('puts what has to be asked again first', () => {
    push(slicesOf(0, 3));
    const first = queue.take();
    if (first !== undefined) queue.unshift(first);
    expect(takeIds(3)).toEqual([0, 1, 2]);
  });

  test('removes what it has of the slices named, and all', () => {
    const slices = slicesOf(1, 3);
    push(slices);
    queue.take();
    expect(queue.remove(new Set(slices.slice(0, 2))).map(({ id }) => id)).toEqual([101]);
    expect([queue.length, queue.bytes]).toEqual([1, 10]);
    expect(queue.clear().map(({ id }) => id)).toEqual([102]);
    expect([queue.length, queue.bytes]).toEqual([0, 0]);
  });
});
