import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { EarlyFollow } from '../../../src/swarm/early-follow.ts';
import { type Availability, AvailabilitySchema } from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';

/** A stream that the test writes and ends. */
class Stream {
  tell: (message: Availability) => void = () => {};
  end: () => void = () => {};
  fail: (error: Error) => void = () => {};
  signal: AbortSignal = new AbortController().signal;
  readonly early = new EarlyFollow(({ onMessage, signal }) => {
    this.tell = onMessage;
    this.signal = signal;
    return new Promise((resolve, reject) => {
      this.end = resolve;
      this.fail = reject;
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  });
}

const first = (generation: string): Availability => create(AvailabilitySchema, { generation });
const change = (piece: number): Availability => create(AvailabilitySchema, { added: [piece] });

function taker(signal: AbortSignal = new AbortController().signal) {
  const messages: Availability[] = [];
  return { messages, options: { onMessage: (message: Availability) => messages.push(message), signal } };
}

describe('EarlyFollow', () => {
  test('gives who takes it over all that was told before, then what comes, until the end', async () => {
    const stream = new Stream();
    stream.tell(first('g'));
    stream.tell(change(1));
    const { messages, options } = taker();
    const taken = stream.early.take('g', options);
    expect(await stream.early.isTaken).toBe(true);
    stream.tell(change(2));
    stream.end();
    expect(await taken).toBe(true);
    expect(messages.map(({ added }) => added)).toEqual([[], [1], [2]]);
  });

  test('is of no use for another object of the name, told before or after, and ends then', async () => {
    for (const isToldBefore of [true, false]) {
      const stream = new Stream();
      if (isToldBefore) stream.tell(first('other'));
      const { messages, options } = taker();
      const taken = stream.early.take('g', options);
      if (!isToldBefore) stream.tell(first('other'));
      expect(await taken).toBe(false);
      expect(messages).toEqual([]);
      expect(stream.signal.aborted).toBe(true);
    }
  });

  test('fails who took it over with what ended the stream, and ends with its signal', async () => {
    const broken = new Stream();
    const taken = broken.early.take('g', taker().options);
    broken.fail(new Error('the connection broke'));
    await expect(taken).rejects.toThrow('the connection broke');
    const aborted = new Stream();
    const controller = new AbortController();
    const stopped = aborted.early.take('g', taker(controller.signal).options);
    controller.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
  });

  test('ends when it is released, but not once it is taken over', async () => {
    const idle = new Stream();
    idle.early.release(new Error('nobody came'));
    expect(await idle.early.isTaken).toBe(false);
    expect(idle.signal.aborted).toBe(true);
    const used = new Stream();
    const taken = used.early.take('g', taker().options);
    used.early.release(new Error('nobody came'));
    expect(used.signal.aborted).toBe(false);
    used.end();
    expect(await taken).toBe(true);
  });

  test('keeps no more than a few messages for nobody', () => {
    const { tell } = new Stream();
    for (let count = 0; count < 64; count++) tell(change(count));
    expect(() => tell(change(64))).toThrow();
  });
});
