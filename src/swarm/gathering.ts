/**
 * Stores that wait for the same object meet before it is there: each connects to some others and follows them early. When the
 * object comes, all of them begin to pull it at the same moment; what it takes to talk to each other is then behind them.
 */
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { NeighbourSample } from './neighbour-sample.ts';
import type { PeerClient } from './peer-client.ts';
import { PeerRoute } from './peer-route.ts';
import type { Random } from './random.ts';
import type { PeerPlace } from './source-feed.ts';

export interface GatheringInput {
  readonly name: string;
  readonly peers: Pick<PeerClient, 'followEarly'>;
  /** Makes ready whatever else it takes to pull from a store. */
  readonly prepare: (segment: string) => Promise<unknown>;
  /** Others to meet; of more by chance. */
  readonly neighboursMax: number;
  readonly random: Random;
}

/** Connections that nobody uses are closed after a minute. */
const PREPARE_AGAIN_MS = 30_000;
/** Waits may be long, and nothing is lost when one of many cannot be met. */
const RETRY = { firstMs: 250, maxMs: 30_000 };

export class Gathering implements AsyncDisposable {
  readonly #input: GatheringInput;
  readonly #sample: NeighbourSample<string>;
  /** Others that wait, by their segments; those that are being met have a way to stop it. */
  readonly #others = new Map<string, { readonly place: PeerPlace; stop: AbortController | undefined }>();
  readonly #meetings = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(input: GatheringInput) {
    this.#input = input;
    this.#sample = new NeighbourSample(input.neighboursMax, input.random);
    this.#timer = setInterval(() => {
      for (const segment of this.#sample.members) this.#prepare(segment);
    }, PREPARE_AGAIN_MS);
    this.#timer.unref();
  }

  /** Those that wait, as far as it was told. */
  get segments(): string[] {
    return [...this.#others.keys()];
  }

  /** One more waits, or one waits elsewhere now. */
  add(place: PeerPlace): void {
    const { segment } = place;
    const known = this.#others.get(segment)?.place;
    if (known !== undefined && PeerRoute.key(known) === PeerRoute.key(place)) return;
    if (known !== undefined) this.remove(segment);
    this.#others.set(segment, { place, stop: undefined });
    const { isTaken, displaced } = this.#sample.meet(segment);
    if (displaced !== undefined) this.#stop(displaced);
    if (isTaken) this.#start(segment);
  }

  /** It waits no more. */
  remove(segment: string): void {
    this.#stop(segment);
    this.#sample.remove(segment);
    this.#others.delete(segment);
    if (!this.#sample.hasRoom) return;
    for (const [next, { stop }] of this.#others) {
      if (stop !== undefined) continue;
      this.#sample.take(next);
      this.#start(next);
      return;
    }
  }

  /** Ends the streams that no download has taken over. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const segment of this.#others.keys()) this.#stop(segment);
    this.#others.clear();
    await Promise.all(this.#meetings);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(segment: string): void {
    const other = this.#others.get(segment);
    if (other === undefined) return;
    const stop = new AbortController();
    other.stop = stop;
    const meeting = this.#meet(other.place, stop.signal)
      .catch(() => {}) // stopped
      .finally(() => this.#meetings.delete(meeting));
    this.#meetings.add(meeting);
  }

  #stop(segment: string): void {
    const other = this.#others.get(segment);
    other?.stop?.abort(new Error('nobody waits for the object any more'));
    if (other !== undefined) other.stop = undefined;
  }

  #prepare(segment: string): void {
    this.#input.prepare(segment).catch(() => {}); // whoever pulls from it finds out why
  }

  async #meet(place: PeerPlace, signal: AbortSignal): Promise<void> {
    const { name, peers } = this.#input;
    this.#prepare(place.segment);
    const anyOfName = { name, generation: '' };
    const options = { wantsDigests: false, signal };
    for (let failures = 0; !(await peers.followEarly(place, anyOfName, options)); failures++) {
      await sleep(backoffMs(failures, RETRY, this.#input.random), signal);
    }
  }
}
