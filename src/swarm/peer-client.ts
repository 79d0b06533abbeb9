import type { CallOptions as ConnectCallOptions } from '@connectrpc/connect';
import { abortable } from '../core/abort.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { EarlyFollow, type FollowOptions } from './early-follow.ts';
import { readFollow } from './follow-stream.ts';
import type { GetStatusResponse, Verdict } from './gen/p2pstore/peer/v1/peer_pb.ts';
import { type PeerConnection, PeerRoute, responseBytesMax } from './peer-route.ts';
import type { PeerPlace } from './source-feed.ts';

/** An object as peers name it. */
export interface ObjectId {
  readonly name: string;
  readonly generation: string;
}

export type EarlyFollowOptions = Pick<FollowOptions, 'wantsDigests' | 'signal'>;

export interface PeerCallOptions {
  readonly signal?: AbortSignal;
  /** Default 5,000 ms. A followed stream has none. */
  readonly timeoutMs?: number;
}

/** Peers remembered; above, those without a connection are forgotten. */
const peersMax = 256;

/**
 * Calls the peer services of other stores: one HTTP/2 connection each, kept alive by pings while it is used and
 * closed soon after. A peer that tells several addresses is reached at another one within about two seconds when the
 * first does not answer any more; calls under way fail then. Share one among all downloads of a store.
 *
 * Every call rejects with P2P_PEER_UNREACHABLE when the peer does not answer, refuses or does not serve the object,
 * and with `signal.reason` after an abort.
 */
export class PeerClient implements AsyncDisposable {
  readonly #peers = new Map<string, PeerRoute>();
  /** Streams that nobody has taken over yet. */
  readonly #early = new Map<string, EarlyFollow>();
  #isClosed = false;

  /** Calls back with all that the peer has, then with changes. Resolves when the peer serves the object no more. */
  async follow(peer: PeerPlace, object: ObjectId, options: FollowOptions): Promise<void> {
    const { signal, wantsDigests } = options;
    signal.throwIfAborted();
    try {
      const early = this.#takeEarly(earlyKey(peer, object.name, wantsDigests));
      if (early !== undefined && (await early.take(object.generation, options))) return;
      await this.#follow(peer, object, options);
    } catch (cause) {
      throw translate(cause, peer.peerEndpoint, signal);
    }
  }

  /**
   * Follows an object before anybody needs to know what the peer has, or before it is there. A {@link follow} of the same takes the
   * stream over.
   *
   * @param object - Without a generation: whichever the peer serves first.
   * @param options.signal - Ends the stream, unless it has been taken over.
   * @returns Whether it was taken over; false: it has ended before.
   */
  async followEarly(peer: PeerPlace, object: ObjectId, options: EarlyFollowOptions): Promise<boolean> {
    const { wantsDigests, signal } = options;
    signal.throwIfAborted();
    const key = earlyKey(peer, object.name, wantsDigests);
    const early = new EarlyFollow((reading) => this.#follow(peer, object, { wantsDigests, ...reading }));
    this.#early.set(key, early);
    const onAbort = (): void => early.release(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await early.isTaken;
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (this.#early.get(key) === early) this.#early.delete(key);
    }
  }

  async #follow(peer: PeerPlace, { name, generation }: ObjectId, options: FollowOptions): Promise<void> {
    const { sessions } = await abortable(this.#route(peer).connect(), options.signal);
    await readFollow(sessions, { name, generation, messageBytesMax: responseBytesMax, ...options });
  }

  #takeEarly(key: string): EarlyFollow | undefined {
    const early = this.#early.get(key);
    this.#early.delete(key);
    return early;
  }

  /** @returns The concatenated digests, not to be trusted; undefined when the peer does not know them all. */
  async getDigests(peer: PeerPlace, object: ObjectId, options: PeerCallOptions = {}): Promise<Uint8Array | undefined> {
    const { digests } = await this.#call(peer, options, (client, call) =>
      client.getDigests({ name: object.name, generation: object.generation }, call),
    );
    return digests.length === 0 ? undefined : digests;
  }

  async reportMismatch(
    peer: PeerPlace,
    object: ObjectId,
    mismatch: { readonly piece: number; readonly digestSeen: Uint8Array },
    options: PeerCallOptions = {},
  ): Promise<Verdict> {
    const { name, generation } = object;
    const { verdict } = await this.#call(peer, options, (client, call) =>
      client.reportMismatch({ name, generation, ...mismatch }, call),
    );
    return verdict;
  }

  getStatus(peer: PeerPlace, name: string, options: PeerCallOptions = {}): Promise<GetStatusResponse> {
    return this.#call(peer, options, (client, call) => client.getStatus({ name }, call));
  }

  /** Ends every connection at once; calls in progress reject. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const route of this.#peers.values()) route.abort();
    this.#peers.clear();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call<T>(
    peer: PeerPlace,
    { signal, timeoutMs = 5_000 }: PeerCallOptions,
    call: (client: PeerConnection['client'], options: ConnectCallOptions) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const deadline = AbortSignal.timeout(timeoutMs);
    const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
    try {
      const { client } = await abortable(this.#route(peer).connect(), either);
      return await call(client, { timeoutMs, signal: either });
    } catch (cause) {
      throw translate(cause, peer.peerEndpoint, signal);
    }
  }

  #route(peer: PeerPlace): PeerRoute {
    if (this.#isClosed) {
      throw new P2PStoreError(ErrorCode.Closed, 'Cannot call a peer: the client is closed', {
        resource: 'peer client',
      });
    }
    const key = PeerRoute.key(peer);
    const known = this.#peers.get(key);
    if (known !== undefined) return known;
    if (this.#peers.size >= peersMax) this.#forgetUnused();
    const route = new PeerRoute(peer);
    this.#peers.set(key, route);
    return route;
  }

  #forgetUnused(): void {
    for (const [key, route] of this.#peers) if (route.isUnused) this.#peers.delete(key);
  }
}

function earlyKey(peer: PeerPlace, name: string, wantsDigests: boolean): string {
  return `${PeerRoute.key(peer)} ${wantsDigests} ${name}`;
}

function translate(cause: unknown, endpoint: string, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (cause instanceof P2PStoreError) return cause;
  return new P2PStoreError(
    ErrorCode.PeerUnreachable,
    `Cannot talk to the peer ${endpoint}: it does not answer, or does not serve the object`,
    { peer: endpoint },
    { cause },
  );
}
