import { type Client, type CallOptions as ConnectCallOptions, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { GuardedSessions } from '../core/guarded-sessions.ts';
import { MIB } from '../core/units.ts';
import { readFollow } from './follow-stream.ts';
import {
  type Availability,
  type GetStatusResponse,
  PeerService as PeerServiceDefinition,
  type Verdict,
} from './gen/p2pstore/peer/v1/peer_pb.ts';

/** An object as peers name it. */
export interface ObjectId {
  readonly name: string;
  readonly generation: string;
}

export interface PeerCallOptions {
  readonly signal?: AbortSignal;
  /** Default 5,000 ms. A followed stream has none. */
  readonly timeoutMs?: number;
}

export interface FollowOptions {
  readonly wantsDigests: boolean;
  readonly onMessage: (message: Availability) => void;
  readonly signal: AbortSignal;
}

/** All digests of the largest objects, 62,500 pieces of 32 bytes, fit eight times. */
const responseBytesMax = 16 * MIB;
const pingIntervalMs = 5_000;
/**
 * A machine that is overloaded may leave a ping alone for seconds and serve bytes all the while. What does stall is found
 * by its data port, long before this; a dead control connection only must not stay for ever.
 */
const pingTimeoutMs = 20_000;
const idleConnectionTimeoutMs = 10_000;
/** Endpoints remembered; above, those without a connection are forgotten. */
const peersMax = 256;

interface Peer {
  readonly sessions: GuardedSessions;
  readonly client: Client<typeof PeerServiceDefinition>;
}

/**
 * Calls the peer services of other stores: one HTTP/2 connection each, kept alive by pings while it is used and
 * closed soon after. Share one among all downloads of a store.
 *
 * Every call rejects with P2P_PEER_UNREACHABLE when the peer does not answer, refuses or does not serve the object,
 * and with `signal.reason` after an abort.
 */
export class PeerClient implements AsyncDisposable {
  readonly #peers = new Map<string, Peer>();
  #isClosed = false;

  /**
   * Calls back with all that the peer has, then with changes. Resolves when the peer serves the object no more.
   *
   * @param options.onMessage - Not called after an abort. What it throws ends the stream.
   */
  async follow(endpoint: string, object: ObjectId, options: FollowOptions): Promise<void> {
    const { signal } = options;
    signal.throwIfAborted();
    try {
      const { name, generation } = object;
      const { sessions } = this.#peer(endpoint);
      await readFollow(sessions, { name, generation, messageBytesMax: responseBytesMax, ...options });
    } catch (cause) {
      throw translate(cause, endpoint, signal);
    }
  }

  /** @returns The concatenated digests, not to be trusted; undefined when the peer does not know them all. */
  async getDigests(endpoint: string, object: ObjectId, options: PeerCallOptions = {}): Promise<Uint8Array | undefined> {
    const { digests } = await this.#call(endpoint, options, (client, call) =>
      client.getDigests({ name: object.name, generation: object.generation }, call),
    );
    return digests.length === 0 ? undefined : digests;
  }

  async reportMismatch(
    endpoint: string,
    object: ObjectId,
    mismatch: { readonly piece: number; readonly digestSeen: Uint8Array },
    options: PeerCallOptions = {},
  ): Promise<Verdict> {
    const { name, generation } = object;
    const { verdict } = await this.#call(endpoint, options, (client, call) =>
      client.reportMismatch({ name, generation, ...mismatch }, call),
    );
    return verdict;
  }

  getStatus(endpoint: string, name: string, options: PeerCallOptions = {}): Promise<GetStatusResponse> {
    return this.#call(endpoint, options, (client, call) => client.getStatus({ name }, call));
  }

  /** Ends every connection at once; calls in progress reject. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const { sessions } of this.#peers.values()) sessions.abort();
    this.#peers.clear();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call<T>(
    endpoint: string,
    { signal, timeoutMs = 5_000 }: PeerCallOptions,
    call: (client: Peer['client'], options: ConnectCallOptions) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await call(this.#peer(endpoint).client, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
    } catch (cause) {
      throw translate(cause, endpoint, signal);
    }
  }

  #peer(endpoint: string): Peer {
    if (this.#isClosed) {
      throw new P2PStoreError(ErrorCode.Closed, 'Cannot call a peer: the client is closed', {
        resource: 'peer client',
      });
    }
    const known = this.#peers.get(endpoint);
    if (known !== undefined) return known;
    if (this.#peers.size >= peersMax) this.#forgetUnconnected();
    const baseUrl = `http://${endpoint}`;
    const sessions = new GuardedSessions(baseUrl, { pingIntervalMs, pingTimeoutMs, idleConnectionTimeoutMs });
    const transport = createConnectTransport({
      httpVersion: '2',
      baseUrl,
      sessionManager: sessions,
      readMaxBytes: responseBytesMax,
      acceptCompression: [],
    });
    const peer = { sessions, client: createClient(PeerServiceDefinition, transport) };
    this.#peers.set(endpoint, peer);
    return peer;
  }

  #forgetUnconnected(): void {
    for (const [endpoint, { sessions }] of this.#peers) {
      const state = sessions.state();
      if (state === 'closed' || state === 'error') this.#peers.delete(endpoint);
    }
  }
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
