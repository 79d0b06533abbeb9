/**
 * The queue pairs between one own card and one card of a peer. Either side may ask for the connection; both then use it.
 *
 *   new ----ready: both sides know each other's numbers----> ready ---a request failed, the peer started again---> ended
 *     `----------------------refused, no answer--------------------------------------------------------------------^
 *
 * It is never repaired: what ended is destroyed, and a new one is made when somebody needs it.
 */
import { assert } from '../../../core/assert.ts';
import { WC_FLUSHED } from './completion-status.ts';
import type { Handshake } from './handshake.ts';
import type { CardPair, CardWork, RdmaCard } from './rdma-card.ts';

export interface ConnectionOptions {
  readonly card: RdmaCard;
  /** The peer's segment and card, `<segment>@<card>`. */
  readonly peerNicPath: string;
  readonly pairs: number;
  /** It works no more; what was posted completes before `destroyed` resolves. */
  readonly onEnded: (connection: RdmaConnection, reason: string, destroyed: Promise<void>) => void;
}

type State =
  | { readonly tag: 'new' }
  | { readonly tag: 'ready'; readonly remoteQueuePairs: readonly number[] }
  | { readonly tag: 'ended'; readonly reason: string };

export class RdmaConnection {
  readonly card: RdmaCard;
  readonly peerNicPath: string;
  readonly #pairs: readonly CardPair[];
  readonly #onEnded: ConnectionOptions['onEnded'];
  /** On the clock of `performance.now()`. */
  readonly createdMs: number = performance.now();
  #state: State = { tag: 'new' };
  #destroyed: Promise<void> | undefined;
  #lastUsedMs = performance.now();
  #inflight = 0;

  /** @throws P2P_SYSTEM_CALL_FAILED The card has no more queue pairs. */
  constructor({ card, peerNicPath, pairs, onEnded }: ConnectionOptions) {
    this.card = card;
    this.peerNicPath = peerNicPath;
    this.#onEnded = onEnded;
    const made: CardPair[] = [];
    try {
      while (made.length < pairs) made.push(card.createPair());
    } catch (error) {
      for (const { pair } of made) pair.destroy();
      throw error;
    }
    this.#pairs = made;
  }

  get isReady(): boolean {
    return this.#state.tag === 'ready';
  }

  /** Why it ended; undefined: it did not. */
  get endedBecause(): string | undefined {
    return this.#state.tag === 'ended' ? this.#state.reason : undefined;
  }

  /** Requests that have not completed. */
  get inflight(): number {
    return this.#inflight;
  }

  /** On the clock of `performance.now()`. */
  get lastUsedMs(): number {
    return this.#lastUsedMs;
  }

  get queuePairNumbers(): number[] {
    return this.#pairs.map(({ pair }) => pair.number);
  }

  /** Whether it is connected with exactly these queue pairs of the peer. */
  isConnectedWith(queuePairs: readonly number[]): boolean {
    if (this.#state.tag !== 'ready') return false;
    const { remoteQueuePairs } = this.#state;
    return remoteQueuePairs.length === queuePairs.length && remoteQueuePairs.every((n, i) => n === queuePairs[i]);
  }

  /**
   * Makes it ready with what the peer said of itself.
   *
   * @throws P2P_SYSTEM_CALL_FAILED No way leads to the peer's address; the connection has ended.
   */
  makeReady({ queuePairs, gid, lid }: Handshake): void {
    assert(
      this.#state.tag === 'new' && queuePairs.length === this.#pairs.length,
      'a new connection is made ready once',
    );
    try {
      for (const [index, pair] of this.#pairs.entries()) {
        this.card.connectPair(pair, { queuePair: queuePairs[index] ?? 0, gid, lid });
      }
    } catch (error) {
      void this.end(error instanceof Error ? error.message : String(error));
      throw error;
    }
    this.#state = { tag: 'ready', remoteQueuePairs: queuePairs };
  }

  get pairCount(): number {
    return this.#pairs.length;
  }

  /** Requests that it takes now. */
  get room(): number {
    if (this.#state.tag !== 'ready') return 0;
    return this.#pairs.reduce((sum, pair) => sum + Math.max(0, this.card.roomOn(pair)), 0);
  }

  /** Posts up to {@link room} requests, spread over the queue pairs. */
  post(works: readonly CardWork[]): void {
    assert(this.#state.tag === 'ready', 'only a ready connection takes requests');
    this.#lastUsedMs = performance.now();
    this.#inflight += works.length;
    const shares = this.#pairs.map((): CardWork[] => []);
    for (const work of works) shares[this.#emptiest(shares)]?.push(this.#counted(work));
    for (const [index, pair] of this.#pairs.entries()) {
      const share = shares[index] ?? [];
      // What the first pair refused has ended them all, and a destroyed one must not be touched.
      if (!this.isReady) for (const work of share) work.onCompleted(WC_FLUSHED);
      else if (share.length > 0) this.card.post(pair, share);
    }
  }

  #emptiest(shares: readonly (readonly CardWork[])[]): number {
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    for (const [index, { inflight }] of this.#pairs.entries()) {
      const load = inflight + (shares[index]?.length ?? 0);
      if (load < least) [best, least] = [index, load];
    }
    return best;
  }

  #counted(work: CardWork): CardWork {
    return {
      ...work,
      onCompleted: (status) => {
        this.#inflight -= 1;
        this.#lastUsedMs = performance.now();
        work.onCompleted(status);
      },
    };
  }

  /** Asks whether the peer's card still answers, without touching memory of either side. */
  ping(onAnswer: (status: number) => void): void {
    const nowhere = { localAddress: 0, localKey: 0, remoteAddress: 0, remoteKey: 0, lengthBytes: 0 };
    this.post([{ ...nowhere, opcode: 'write', onCompleted: onAnswer }]);
  }

  /** What is posted completes as flushed. Resolves when no card uses it any more. */
  end(reason: string): Promise<void> {
    if (this.#destroyed !== undefined) return this.#destroyed;
    this.#state = { tag: 'ended', reason };
    this.#destroyed = Promise.all(this.#pairs.map((pair) => this.card.destroyPair(pair))).then(() => {});
    this.#onEnded(this, reason, this.#destroyed);
    return this.#destroyed;
  }
}
