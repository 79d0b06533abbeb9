/** Keeps up with the sources of one object: connects to them, follows what they have, and reports it. */
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { type Availability, State } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { ObjectLayout } from './layout.ts';
import { NeighbourSample } from './neighbour-sample.ts';
import type { PeerClient } from './peer-client.ts';
import type { Random } from './random.ts';
import type { SourceFeed, SourceInfo } from './source-feed.ts';

export interface NeighbourEvents {
  /** A source was taken on; a complete one can be asked before it has said anything. */
  readonly onJoined: (source: SourceInfo) => void;
  /** `isFirst`: the message tells everything, not a change. */
  readonly onAvailability: (source: SourceInfo, message: Availability, isFirst: boolean) => void;
  /** Its control connection failed; it is tried again. It may serve bytes all the same. */
  readonly onLost: (source: SourceInfo, error: unknown) => void;
  /** It is not a source any more, by its record or by its own word. */
  readonly onLeft: (source: SourceInfo) => void;
}

export interface NeighboursInput {
  readonly feed: SourceFeed;
  readonly layout: ObjectLayout;
  readonly peers: Pick<PeerClient, 'follow'>;
  readonly wantsDigests: (source: SourceInfo) => boolean;
  /** Replicas to know at once; gold sources are known besides. */
  readonly neighboursMax: number;
  readonly random: Random;
  readonly clock: Clock;
  readonly events: NeighbourEvents;
}

interface Neighbour {
  readonly source: SourceInfo;
  readonly stop: AbortController;
  isConnected: boolean;
}

/** A peer that accepts a connection and then says nothing is left after this long. */
const firstMessageMs = 5_000;

export class Neighbours {
  readonly #input: NeighboursInput;
  readonly #known = new Map<string, Neighbour>();
  /** Sources that ended their stream: not tried again until their record changes. */
  readonly #left = new Map<string, SourceInfo>();
  /** The replicas among those known; by chance, when there are more than may be known. */
  readonly #sample: NeighbourSample<string>;
  /** Replicas that were listed when we last looked. */
  #met = new Set<string>();
  readonly #unsubscribe: () => void;
  #neighboursMax: number;

  constructor(input: NeighboursInput) {
    this.#input = input;
    this.#neighboursMax = input.neighboursMax;
    this.#sample = new NeighbourSample(input.neighboursMax, input.random);
    this.#unsubscribe = input.feed.onChange(() => this.#reconcile());
  }

  start(): void {
    this.#reconcile();
  }

  get(segment: string): SourceInfo | undefined {
    return this.#known.get(segment)?.source;
  }

  all(): SourceInfo[] {
    return Array.from(this.#known.values(), ({ source }) => source);
  }

  isConnected(segment: string): boolean {
    return this.#known.get(segment)?.isConnected === true;
  }

  /** Connects to up to `count` sources more than before, when there are any. */
  widen(count: number): void {
    this.#neighboursMax = Math.min(this.#neighboursMax + count, 2 * this.#input.neighboursMax);
    this.#sample.widen(this.#neighboursMax);
    this.#reconcile();
  }

  /** Begins anew with one source: its first message will tell everything again. */
  reconnect(segment: string): void {
    const known = this.#known.get(segment);
    if (known === undefined) return;
    known.stop.abort();
    this.#known.delete(segment);
    this.#follow(known.source, 2_000);
  }

  /** @param later - When to end the streams. Nothing that comes over them counts any more. */
  close(later: (work: () => void) => void = (work) => work()): void {
    this.#unsubscribe();
    const known = [...this.#known.values()];
    this.#known.clear();
    later(() => {
      for (const { stop } of known) stop.abort();
    });
  }

  #isKnown(neighbour: Neighbour): boolean {
    return this.#known.get(neighbour.source.segment) === neighbour;
  }

  #reconcile(): void {
    const listed = new Map<string, SourceInfo>();
    for (const source of this.#input.feed.current()) if (this.#isUsable(source)) listed.set(source.segment, source);
    for (const { source } of [...this.#known.values()]) {
      const now = listed.get(source.segment);
      if (now === undefined || !isSamePlace(now, source)) this.#drop(source);
    }
    const candidates = [...listed.values()].filter((source) => {
      const left = this.#left.get(source.segment);
      return !this.#known.has(source.segment) && (left === undefined || !isSamePlace(left, source));
    });
    const chosen = this.#choose(candidates);
    for (const { source } of [...this.#known.values()]) {
      if (source.role !== 'gold' && !chosen.has(source.segment)) this.#drop(source);
    }
    for (const source of candidates) {
      if (source.role !== 'gold' && !chosen.has(source.segment)) continue;
      this.#follow(source, 0);
      this.#input.events.onJoined(source);
    }
    this.#met = new Set(listed.keys());
  }

  /** Which replicas to know, of those known and the candidates. A new one may take the place of another. */
  #choose(candidates: readonly SourceInfo[]): ReadonlySet<string> {
    const passed: string[] = [];
    for (const { role, segment } of candidates) {
      if (role === 'gold') continue;
      if (this.#met.has(segment)) passed.push(segment);
      else this.#sample.meet(segment);
    }
    while (this.#sample.hasRoom && passed.length > 0) {
      const [segment] = passed.splice(Math.floor(this.#input.random() * passed.length), 1);
      if (segment !== undefined) this.#sample.take(segment);
    }
    return new Set(this.#sample.members);
  }

  #drop(source: SourceInfo): void {
    this.#known.get(source.segment)?.stop.abort();
    this.#forget(source);
  }

  #forget(source: SourceInfo): void {
    this.#known.delete(source.segment);
    this.#sample.remove(source.segment);
    this.#input.events.onLeft(source);
  }

  #isUsable(source: SourceInfo): boolean {
    const { layout } = this.#input;
    if (source.generation !== layout.generation) return false;
    return source.ranges.reduce((total, { lengthBytes }) => total + lengthBytes, 0) === layout.totalSize;
  }

  #follow(source: SourceInfo, delayMs: number): void {
    const neighbour: Neighbour = { source, stop: new AbortController(), isConnected: false };
    this.#known.set(source.segment, neighbour);
    this.#followUntilStopped(neighbour, delayMs).catch(() => {}); // rejects only with its own stop
  }

  async #followUntilStopped(neighbour: Neighbour, delayMs: number): Promise<void> {
    const { signal } = neighbour.stop;
    if (delayMs > 0) await sleep(delayMs, signal);
    if (neighbour.source.peerEndpoint === '') {
      if (delayMs > 0) this.#input.events.onJoined(neighbour.source); // nothing else would tell that it may be asked again
      return;
    }
    for (let failures = 0; ; failures++) {
      try {
        await this.#followOnce(neighbour, () => {
          failures = 0;
        });
        if (signal.aborted || !this.#isKnown(neighbour)) return;
        this.#leave(neighbour.source);
        return;
      } catch (error) {
        neighbour.isConnected = false;
        if (signal.aborted || !this.#isKnown(neighbour)) return;
        this.#input.events.onLost(neighbour.source, error);
      }
      await sleep(backoffMs(failures, { firstMs: 100, maxMs: 2_000 }, this.#input.random), signal);
    }
  }

  /** @returns When the peer itself said that it serves the object no more. */
  async #followOnce(neighbour: Neighbour, onFirst: () => void): Promise<void> {
    const { peers, layout, wantsDigests, clock, events } = this.#input;
    const { source, stop } = neighbour;
    const attempt = new AbortController();
    const signal = AbortSignal.any([stop.signal, attempt.signal]);
    const cancelTimer = clock.after(firstMessageMs, () => attempt.abort(new Error('the peer says nothing')));
    let last: State = State.SERVING;
    const onMessage = (message: Availability): void => {
      cancelTimer();
      if (!this.#isKnown(neighbour)) return;
      const isFirst = !neighbour.isConnected;
      neighbour.isConnected = true;
      if (isFirst) onFirst();
      last = message.state;
      events.onAvailability(source, message, isFirst);
    };
    try {
      await peers.follow(source, layout, { wantsDigests: wantsDigests(source), onMessage, signal });
    } finally {
      cancelTimer();
      attempt.abort();
    }
    neighbour.isConnected = false;
    if (last === State.SERVING) throw new Error('the peer ended the stream early');
  }

  #leave(source: SourceInfo): void {
    this.#left.set(source.segment, source);
    this.#forget(source);
    this.#reconcile();
  }
}

/** Whether two records of a source mean the same memory behind the same endpoint. */
function isSamePlace(one: SourceInfo, other: SourceInfo): boolean {
  if (one === other) return true;
  if (one.peerEndpoint !== other.peerEndpoint || one.role !== other.role) return false;
  if (one.ranges.length !== other.ranges.length) return false;
  return one.ranges.every((range, at) => {
    const twin = other.ranges[at];
    return twin?.address === range.address && twin.lengthBytes === range.lengthBytes;
  });
}
