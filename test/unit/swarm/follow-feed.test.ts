import { Writable } from 'node:stream';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { Bitmap } from '../../../src/swarm/bitmap.ts';
import { EnvelopeReader } from '../../../src/swarm/envelope.ts';
import { protoCodec } from '../../../src/swarm/follow-codec.ts';
import { changesWorthTelling, FollowFeed, followIntervalMs, patienceMs } from '../../../src/swarm/follow-feed.ts';
import { type Availability, AvailabilitySchema, State } from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';

const layout = layoutOf(1_000 * pieceSizeBytes);
const options = { wantsDigests: false, codec: protoCodec };

function createObject(): SharedObject {
  const ranges = [{ address: 4096, lengthBytes: layout.totalSize, access: 'guarded' as const }];
  return new SharedObject({ layout, role: 'replica', ranges });
}

/** A follower that reads at once, or not until it is told to. */
class Follower extends Writable {
  readonly messages: Availability[] = [];
  readonly chunks: Buffer[] = [];
  isReading = true;
  #wait: (() => void) | undefined;
  readonly #reader = new EnvelopeReader(2 ** 20, (flags, message) => {
    if (flags === 0) this.messages.push(fromBinary(AvailabilitySchema, message));
  });

  constructor() {
    super({ highWaterMark: 1 });
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk);
    this.#reader.push(chunk);
    if (this.isReading) done();
    else this.#wait = done;
  }

  readOn(): void {
    this.isReading = true;
    this.#wait?.();
    this.#wait = undefined;
  }
}

/** One follower of an object, and the time by which it is told. */
function follow(): { clock: FakeClock; object: SharedObject; follower: Follower } {
  const clock = new FakeClock();
  const object = createObject();
  const follower = new Follower();
  new FollowFeed(object, clock).add(follower, options);
  return { clock, object, follower };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('FollowFeed', () => {
  test('tells the first change at once, several as soon as the interval is over, and fewer a little later', async () => {
    const { clock, object, follower } = follow();
    await clock.advance(1_000);
    object.markVerified(1);
    await nextTurn();
    expect(follower.messages[1]).toMatchObject({ added: [1] });
    const several = Array.from({ length: changesWorthTelling }, (_, at) => 10 + at);
    for (const piece of several.slice(1)) object.markVerified(piece);
    await clock.advance(followIntervalMs(1) - 1);
    object.markVerified(10);
    await nextTurn();
    expect(follower.messages).toHaveLength(2);
    await clock.advance(1);
    expect(follower.messages[2]?.added.toSorted((a, b) => a - b)).toEqual(several);
    object.markVerified(5);
    object.markVerified(6);
    await clock.advance(patienceMs - 1);
    await nextTurn();
    expect(follower.messages).toHaveLength(3);
    await clock.advance(1);
    expect(follower.messages[3]).toMatchObject({ added: [5, 6] });
  });

  test('does not let a piece wait that came straight from a gold source, and tells with it what waits', async () => {
    const { clock, object, follower } = follow();
    object.markVerified(1);
    await clock.advance(followIntervalMs(1));
    await nextTurn();
    expect(follower.messages).toHaveLength(1);
    object.markVerified(2, true);
    await nextTurn();
    expect(follower.messages[1]).toMatchObject({ added: [1, 2] });
    object.markVerified(3);
    await clock.advance(patienceMs - 1);
    await nextTurn();
    expect(follower.messages).toHaveLength(2);
    await clock.advance(1);
    await nextTurn();
    expect(follower.messages[2]).toMatchObject({ added: [3] });
  });

  test('tells of a piece that changed before it was told as changed only', async () => {
    const { clock, object, follower } = follow();
    object.markVerified(1);
    object.markChanged(1);
    await clock.advance(1_000);
    await nextTurn();
    expect(follower.messages).toHaveLength(2);
    expect(follower.messages[1]).toMatchObject({ added: [], changed: [1] });
  });

  test('tells nothing twice to a follower that comes while changes wait to be told', async () => {
    const clock = new FakeClock();
    const object = createObject();
    object.markVerified(0);
    const feed = new FollowFeed(object, clock);
    const [early, late] = [new Follower(), new Follower()];
    feed.add(early, options);
    await nextTurn(); // it has read all there is
    object.markVerified(1);
    feed.add(late, options);
    expect([...(Bitmap.decode(1_000, late.messages[0]?.bitmap ?? new Uint8Array()) ?? [])]).toEqual([0]);
    object.markVerified(2);
    await clock.advance(1_000);
    await nextTurn();
    for (const { messages } of [early, late]) {
      expect(messages).toHaveLength(2);
      expect(messages.at(-1)).toMatchObject({ added: [1, 2] });
    }
  });

  test('encodes a message once for all that keep up', async () => {
    const object = createObject();
    const feed = new FollowFeed(object, systemClock);
    const followers = [new Follower(), new Follower(), new Follower()];
    for (const follower of followers) feed.add(follower, options);
    object.markVerified(5);
    await eventually('the message', () => followers.every(({ messages }) => messages.length === 2));
    expect(new Set(followers.map(({ chunks }) => chunks.at(-1))).size).toBe(1);
  });

  test('collects for a follower that does not read, and holds nobody up for it', async () => {
    const clock = new FakeClock();
    const object = createObject();
    const feed = new FollowFeed(object, clock);
    const [slow, quick] = [new Follower(), new Follower()];
    slow.isReading = false;
    feed.add(slow, options);
    feed.add(quick, options);
    for (let piece = 0; piece < 500; piece++) {
      object.markVerified(piece);
      await clock.advance(patienceMs);
      await nextTurn();
    }
    expect(quick.messages).toHaveLength(501);
    expect(slow.messages).toHaveLength(1);
    expect(slow.writableLength).toBe(slow.chunks[0]?.length);
    slow.readOn();
    await nextTurn(); // its drain
    await clock.advance(patienceMs);
    await nextTurn();
    expect(slow.messages).toHaveLength(2);
    expect(slow.messages[1]?.added).toHaveLength(500);
    object.markVerified(700);
    await clock.advance(patienceMs);
    await nextTurn();
    for (const { messages } of [slow, quick]) expect(messages.at(-1)?.added).toEqual([700]);
  });

  test('tells the end, then ends the streams; one that does not read hears it later', async () => {
    const object = createObject();
    const feed = new FollowFeed(object, systemClock);
    const [slow, quick] = [new Follower(), new Follower()];
    slow.isReading = false;
    feed.add(slow, options);
    feed.add(quick, options);
    object.withdraw();
    await eventually('the end', () => quick.writableFinished);
    expect(feed.followers).toBe(1);
    slow.readOn();
    await eventually('the later end', () => slow.writableFinished);
    for (const { messages } of [slow, quick]) expect(messages.at(-1)?.state).toBe(State.WITHDRAWN);
    expect(feed.followers).toBe(0);
  });

  test('writes no more to a follower that has left', async () => {
    const object = createObject();
    const feed = new FollowFeed(object, systemClock);
    const [gone, other] = [new Follower(), new Follower()];
    const leave = feed.add(gone, options);
    feed.add(other, options);
    leave();
    leave();
    expect(feed.followers).toBe(1);
    object.markVerified(1);
    await eventually('the message', () => other.messages.length === 2);
    expect(gone.messages).toHaveLength(1);
  });
});
