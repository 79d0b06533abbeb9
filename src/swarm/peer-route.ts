/** The way to one peer service: a connection to one of its addresses, and to another one when that falls silent. */
import { type Client, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { GuardedSessions } from '../core/guarded-sessions.ts';
import { hostPort } from '../core/host-port.ts';
import { raceInTurn } from '../core/race-in-turn.ts';
import { MIB } from '../core/units.ts';
import { PeerService as PeerServiceDefinition } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { PeerPlace } from './source-feed.ts';

export interface PeerConnection {
  readonly sessions: GuardedSessions;
  readonly client: Client<typeof PeerServiceDefinition>;
}

/** All digests of the largest objects, 62,500 pieces of 32 bytes, fit eight times. */
export const responseBytesMax: number = 16 * MIB;
const pingIntervalMs = 5_000;
/**
 * A machine that is overloaded may leave a ping alone for seconds and serve bytes all the while. What does stall is found
 * by its data port, long before this; a dead control connection only must not stay for ever.
 */
const pingTimeoutMs = 20_000;
const idleConnectionTimeoutMs = 10_000;
/** An address is given this long before the next one is tried too, as browsers do (RFC 8305). */
const turnMs = 250;
const answerTimeoutMs = 5_000;
/** Where there are other addresses they are tried when nothing came for this long after a ping. */
const silenceMs = 1_000;

/**
 * With one address this is a connection, opened when it is used. With several ones each is asked for the name of the store
 * first, as the same private address may belong to another machine in another network.
 */
export class PeerRoute {
  readonly #segment: string;
  /** The one that answered last comes first. */
  #endpoints: readonly string[];
  readonly #closed = new AbortController();
  #current: PeerConnection | undefined;
  #connecting: Promise<PeerConnection> | undefined;
  #watch: NodeJS.Timeout | undefined;

  constructor({ segment, peerEndpoint, peerAddresses = [] }: PeerPlace) {
    this.#segment = segment;
    const port = peerEndpoint.slice(peerEndpoint.lastIndexOf(':') + 1);
    const others = peerAddresses.map((address) => hostPort(address, port));
    this.#endpoints = [...new Set([peerEndpoint, ...others])];
    if (this.#endpoints.length === 1) this.#current = openConnection(peerEndpoint);
  }

  /** Routes of the same key lead to the same place. */
  static key({ segment, peerEndpoint, peerAddresses = [] }: PeerPlace): string {
    return peerAddresses.length === 0 ? peerEndpoint : [segment, peerEndpoint, ...peerAddresses].join(' ');
  }

  /** Whether nothing is lost when it is forgotten. */
  get isUnused(): boolean {
    return this.#connecting === undefined && !this.#isAlive(this.#current);
  }

  /** @throws AggregateError No address answers as this store. Never with one address, which calls find out by themselves. */
  connect(): Promise<PeerConnection> {
    const current = this.#current;
    if (
      current !== undefined &&
      (this.#endpoints.length === 1 || (this.#isAlive(current) && !current.sessions.isOver))
    ) {
      return Promise.resolve(current);
    }
    return this.#choose(this.#endpoints);
  }

  /** Ends the connection and all calls. */
  abort(): void {
    this.#closed.abort(new Error('the connection was closed'));
    clearInterval(this.#watch);
    this.#current?.sessions.abort();
  }

  #isAlive(connection: PeerConnection | undefined): boolean {
    const state = connection?.sessions.state() ?? 'closed';
    return state !== 'closed' && state !== 'error';
  }

  #choose(endpoints: readonly string[]): Promise<PeerConnection> {
    this.#connecting ??= this.#race(endpoints).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #race(endpoints: readonly string[]): Promise<PeerConnection> {
    const { current, signsOfLife } = this.#sight();
    const { endpoint, connection } = await raceInTurn(endpoints, (candidate, signal) => this.#ask(candidate, signal), {
      delayMs: turnMs,
      signal: this.#closed.signal,
      discard: ({ connection: late }) => late.sessions.abort(),
    });
    if (current !== undefined && this.#isAlive(current) && current.sessions.signsOfLife !== signsOfLife) {
      connection.sessions.abort(); // it was slow, and lives
      return current;
    }
    this.#endpoints = [endpoint, ...this.#endpoints.filter((other) => other !== endpoint)];
    this.#current = connection;
    current?.sessions.abort();
    this.#watchSilence();
    return connection;
  }

  async #ask(endpoint: string, signal: AbortSignal): Promise<{ endpoint: string; connection: PeerConnection }> {
    const connection = openConnection(endpoint);
    try {
      const { segment } = await connection.client.getStatus({ name: '' }, { signal, timeoutMs: answerTimeoutMs });
      if (segment !== this.#segment) throw new Error(`another store answers at ${endpoint}`);
      return { endpoint, connection };
    } catch (error) {
      connection.sessions.abort();
      throw error;
    }
  }

  #sight(): { readonly current: PeerConnection | undefined; readonly signsOfLife: number } {
    return { current: this.#current, signsOfLife: this.#current?.sessions.signsOfLife ?? 0 };
  }

  /** A ping must be followed by a sign of life before the next look. */
  #watchSilence(): void {
    clearInterval(this.#watch);
    let seen = -1;
    this.#watch = setInterval(() => {
      const { current, signsOfLife } = this.#sight();
      if (current === undefined || !this.#isAlive(current)) {
        clearInterval(this.#watch);
      } else if (signsOfLife === seen) {
        this.#choose(this.#endpoints.slice(1)).catch(() => {}); // nobody answers: it stays until its ping times out
      } else {
        seen = signsOfLife;
        current.sessions.ping();
      }
    }, silenceMs).unref();
  }
}

function openConnection(endpoint: string): PeerConnection {
  const baseUrl = `http://${endpoint}`;
  const sessions = new GuardedSessions(baseUrl, { pingIntervalMs, pingTimeoutMs, idleConnectionTimeoutMs });
  const transport = createConnectTransport({
    httpVersion: '2',
    baseUrl,
    sessionManager: sessions,
    readMaxBytes: responseBytesMax,
    acceptCompression: [],
  });
  return { sessions, client: createClient(PeerServiceDefinition, transport) };
}
