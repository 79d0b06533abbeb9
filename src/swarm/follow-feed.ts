/**
 * Tells the followers of one object what changes. Nearly all of them are told the same at the same time, so a message
 * is encoded once and the same bytes are written to each. A follower that does not take its bytes is passed over; what
 * it misses is collected as sets of pieces, and told once it reads again.
 */
import type { Writable } from 'node:stream';
import type { Clock } from '../core/clock.ts';
import { encodeEnvelope, endStreamFlag } from './envelope.ts';
import type { FollowCodec } from './follow-codec.ts';
import { PendingChanges, snapshotMessage } from './pending-changes.ts';
import type { SharedChange, SharedObject } from './shared-object.ts';

/**
 * So many changes are worth a message as soon as one may be sent, and so are digests, and a piece straight from a gold source, which
 * nobody else can offer yet. Fewer further copies of what others have wait for more, for this long in ms.
 */
export const changesWorthTelling = 6;
export const patienceMs = 500;

/**
 * Least time between two messages to one follower, in ms. The first change after a quiet time is told at once; what
 * comes after that is collected. Each message costs both ends tens of microseconds, so with many followers it is
 * longer: 20 ms for 16 of them, never more than 36 ms.
 */
export function followIntervalMs(followers: number): number {
  return 4 + Math.min(followers, 32);
}

const endEnvelope = encodeEnvelope(endStreamFlag, Buffer.from('{}'));

export interface FollowOptions {
  readonly wantsDigests: boolean;
  readonly codec: FollowCodec;
}

export class FollowFeed {
  readonly object: SharedObject;
  readonly #clock: Clock;
  readonly #groups: FollowGroup[] = [];

  constructor(object: SharedObject, clock: Clock) {
    this.object = object;
    this.#clock = clock;
  }

  get followers(): number {
    return this.#groups.reduce((total, { followers }) => total + followers, 0);
  }

  /**
   * Writes envelopes to a stream: all there is, then what changes; ends it when the object is not served any more.
   *
   * @returns Stops that. To be called when the stream closes.
   */
  add(stream: Writable, options: FollowOptions): () => void {
    return this.#groupOf(options).add(stream);
  }

  #groupOf(options: FollowOptions): FollowGroup {
    const known = this.#groups.find((group) => group.suits(options));
    if (known !== undefined) return known;
    const group = new FollowGroup(this.object, options, {
      clock: this.#clock,
      followersOfObject: () => this.followers,
    });
    this.#groups.push(group);
    return group;
  }
}

interface Follower {
  readonly stream: Writable;
  /** What the others were told while this one took nothing. */
  missed: PendingChanges | undefined;
}

/** Followers that are told the same. */
class FollowGroup {
  readonly #object: SharedObject;
  readonly #options: FollowOptions;
  readonly #clock: Clock;
  readonly #followersOfObject: () => number;
  readonly #followers = new Set<Follower>();
  readonly #pending: PendingChanges;
  #unsubscribe: () => void = () => {};
  /** Ends the wait for the next message, when one is due. */
  #cancelDue: (() => void) | undefined;
  /** Whether that wait is only for the interval, not for more changes. */
  #isDueSoon = false;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(
    object: SharedObject,
    options: FollowOptions,
    { clock, followersOfObject }: { readonly clock: Clock; readonly followersOfObject: () => number },
  ) {
    this.#object = object;
    this.#options = options;
    this.#clock = clock;
    this.#followersOfObject = followersOfObject;
    this.#pending = new PendingChanges(object, options.wantsDigests);
  }

  get followers(): number {
    return this.#followers.size;
  }

  suits({ wantsDigests, codec }: FollowOptions): boolean {
    return wantsDigests === this.#options.wantsDigests && codec === this.#options.codec;
  }

  add(stream: Writable): () => void {
    if (this.#followers.size === 0) this.#unsubscribe = this.#object.subscribe((change) => this.#note(change));
    const follower: Follower = { stream, missed: undefined };
    this.#followers.add(follower);
    stream.on('drain', () => {
      if (follower.missed !== undefined) this.#schedule();
    });
    // Without what waits to be told, which it hears with the others: so it hears everything, and nothing twice.
    this.#write(follower, this.#encode(snapshotMessage(this.#object, this.#options.wantsDigests, this.#pending)));
    return () => this.#remove(follower);
  }

  #note(change: SharedChange): void {
    this.#pending.note(change);
    if (change.kind === 'state') this.#tell();
    else if (!this.#pending.isEmpty) this.#schedule();
  }

  /** Tells at once when the last message is long enough ago, else when it is. */
  #schedule(): void {
    const { size, isUrgent } = this.#pending;
    const isWorthTelling = isUrgent || size >= changesWorthTelling;
    if (this.#cancelDue !== undefined && (!isWorthTelling || this.#isDueSoon)) return;
    this.#cancelDue?.();
    this.#isDueSoon = isWorthTelling;
    const intervalMs = isWorthTelling ? followIntervalMs(this.#followersOfObject()) : patienceMs;
    const waitMs = this.#toldMs + intervalMs - this.#clock.nowMs();
    if (waitMs > 0) {
      this.#cancelDue = this.#clock.after(waitMs, () => this.#tell());
      return;
    }
    this.#isDueSoon = true;
    // Not in the middle of what causes the changes: there may be more of them.
    const immediate = setImmediate(() => this.#tell());
    this.#cancelDue = () => clearImmediate(immediate);
  }

  #tell(): void {
    this.#cancelDue?.();
    this.#cancelDue = undefined;
    this.#isDueSoon = false;
    let shared: Buffer | undefined;
    for (const follower of this.#followers) {
      if (follower.stream.writableNeedDrain) this.#keepForLater(follower);
      else if (follower.missed !== undefined) this.#tellMissed(follower, follower.missed);
      else if (!this.#pending.isEmpty) {
        shared ??= this.#encode(this.#pending.message());
        this.#write(follower, shared);
      }
    }
    this.#pending.clear();
  }

  #keepForLater(follower: Follower): void {
    if (this.#pending.isEmpty) return;
    follower.missed ??= new PendingChanges(this.#object, this.#options.wantsDigests);
    follower.missed.append(this.#pending);
  }

  #tellMissed(follower: Follower, missed: PendingChanges): void {
    follower.missed = undefined;
    missed.append(this.#pending);
    if (!missed.isEmpty) this.#write(follower, this.#encode(missed.message()));
  }

  #encode(message: Parameters<FollowCodec['encode']>[0]): Buffer {
    return encodeEnvelope(0, this.#options.codec.encode(message));
  }

  #write(follower: Follower, envelope: Buffer): void {
    follower.stream.write(envelope);
    this.#toldMs = this.#clock.nowMs();
    if (this.#object.state.tag === 'serving') return;
    follower.stream.end(endEnvelope);
    this.#remove(follower);
  }

  #remove(follower: Follower): void {
    if (!this.#followers.delete(follower) || this.#followers.size > 0) return;
    this.#unsubscribe();
    this.#cancelDue?.();
    this.#cancelDue = undefined;
    this.#pending.clear();
  }
}
