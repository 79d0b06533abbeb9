import { describe, expect, test } from 'vitest';
import { type Answer, AnswerQueue } from '../../../../../src/engine/transport/tcp/answer-queue.ts';
import type { MessageHeader } from '../../../../../src/engine/transport/tcp/message-header.ts';

const STATUS_AT = 1_000_000;
const range = { address: 0, lengthBytes: 1000, isReadable: true, isWritable: false };

function read(address: number, lengthBytes: number): Answer {
  return { status: 'ok', statusLeftBytes: 8, address, leftBytes: lengthBytes, range, countedBytes: lengthBytes };
}

function queueOf(...answers: Answer[]): AnswerQueue {
  const queue = new AnswerQueue(() => STATUS_AT);
  for (const answer of answers) queue.push(answer);
  return queue;
}

function gather(queue: AnswerQueue, maxAnswers = 64, maxBytes = 1000, aloneBytes = 500): [number, number][] {
  const parts: [number, number][] = [];
  queue.gather({ push: (...part: [number, number]) => parts.push(part) } as unknown as MessageHeader, {
    maxAnswers,
    maxBytes,
    aloneBytes,
  });
  return parts;
}

describe('AnswerQueue', () => {
  test('lays out status and payload of many answers for one call, as many as are allowed', () => {
    const queue = queueOf(read(100, 10), read(200, 20), read(300, 30));
    const first = [
      [STATUS_AT, 8],
      [100, 10],
    ];
    const second = [
      [STATUS_AT, 8],
      [200, 20],
    ];
    expect(gather(queue, 1)).toEqual(first);
    expect(gather(queue, 2)).toEqual([...first, ...second]);
    expect(gather(queue, 64, 15)).toEqual([...first, [STATUS_AT, 8], [200, 5]]);
    expect(queue.payloadBytes).toBe(60);
  });

  test('sends a large payload alone, and what is before it first', () => {
    expect(gather(queueOf(read(100, 500), read(700, 10)))).toHaveLength(4);
    expect(gather(queueOf(read(100, 10), read(200, 500)))).toEqual([
      [STATUS_AT, 8],
      [100, 10],
    ]);
  });

  test.each([1, 3, 8, 17, 18, 19, 40, 84])('goes on where a call ended that took %i bytes', (step) => {
    const queue = queueOf(read(100, 10), read(200, 20), read(300, 30));
    const stream = gather(queue).flatMap(([address, lengthBytes]) =>
      Array.from({ length: lengthBytes }, (_, index) => address + index),
    );
    const sent: number[] = [];
    for (let total = 0; total < stream.length; total += step) {
      expect(gather(queue)[0]?.[0]).toBe(stream[total]);
      queue.countSent(Math.min(step, stream.length - total), ({ countedBytes }) => sent.push(countedBytes));
    }
    expect(sent).toEqual([10, 20, 30]);
    expect([queue.length, queue.payloadBytes]).toEqual([0, 0]);
  });

  test('knows whose memory it is about to send, until it has been sent or dropped', () => {
    const queue = queueOf(read(100, 10), { ...read(200, 20), range: undefined });
    expect(queue.uses(range)).toBe(true);
    expect(queue.uses({ ...range })).toBe(false);
    queue.countSent(18, () => {});
    expect(queue.uses(range)).toBe(false);
    queue.push(read(300, 5));
    expect(queue.clear().map(({ countedBytes }) => countedBytes)).toEqual([20, 5]);
    expect([queue.uses(range), queue.length, queue.payloadBytes]).toEqual([false, 0, 0]);
  });
});
