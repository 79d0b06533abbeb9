import { setMaxListeners } from 'node:events';
import type { SecureClientSessionOptions } from 'node:http2';
import { type Client, type CallOptions as ConnectCallOptions, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { abortable, sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { GuardedSessions } from '../../core/guarded-sessions.ts';
import type { EtcdAddress, EtcdTlsOptions } from './etcd-address.ts';
import { classifyFailure, deniedError, isRefused, unavailableError } from './etcd-errors.ts';
import { Auth, KV, Lease, Watch } from './gen/etcd_pb.ts';

/** One try at one endpoint. A leader election takes 1 to 2 s, so a healthy cluster answers within this. */
const ATTEMPT_MS = 3000;
/** One call with all its tries. */
export const CALL_MS = 10_000;
/** The first call: a wrong address should be told while somebody is looking. */
export const OPEN_MS = 5000;
/** Pings find dead connections under a watch. etcd ends connections that ping more often than every 5 s. */
const PING_INTERVAL_MS = 6000;
const PING_TIMEOUT_MS = 2500;
/** Between rounds over all endpoints. */
const RETRY = { firstMs: 50, maxMs: 1000 };
/** New tokens asked for within one call. */
const AUTHENTICATIONS_MAX = 2;

export interface EtcdEndpoint {
  readonly url: string;
  readonly session: GuardedSessions;
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly watch: Client<typeof Watch>;
  readonly auth: Client<typeof Auth>;
}

export interface EtcdCallOptions {
  readonly signal: AbortSignal | undefined;
  readonly deadlineMs?: number;
}

/** What one try gets to know: `isUncertain` says that an earlier try may have been carried out. */
export interface EtcdAttempt {
  readonly options: ConnectCallOptions;
  readonly isUncertain: boolean;
}

/**
 * Connections to the members of one cluster. Calls stay with one member until it fails, then move to the next.
 */
export class EtcdChannel {
  readonly uri: string;
  readonly #credentials: EtcdAddress['credentials'];
  readonly #endpoints: readonly EtcdEndpoint[];
  readonly #closing = new AbortController();
  #currentIndex: number;
  #token: Promise<string> | undefined;

  constructor(address: EtcdAddress) {
    this.uri = address.uri;
    setMaxListeners(0, this.#closing.signal); // one for each call that waits to try again
    this.#credentials = address.credentials;
    this.#endpoints = address.endpoints.map((url) => openEndpoint(url, address.tls));
    this.#currentIndex = Math.floor(Math.random() * this.#endpoints.length); // spreads clients over the members
  }

  /** Fires with P2P_CLOSED when the channel closes. */
  get closingSignal(): AbortSignal {
    return this.#closing.signal;
  }

  current(): EtcdEndpoint {
    const endpoint = this.#endpoints[this.#currentIndex];
    if (endpoint === undefined) throw new RangeError('Cannot choose an endpoint: there is none');
    return endpoint;
  }

  /** Moves on from an endpoint that failed, unless another call has done so already. */
  leave(endpoint: EtcdEndpoint): void {
    // A connection attempt without an answer repeats ever more seldom: start afresh next time.
    if (endpoint.session.state() === 'connecting') endpoint.session.abort();
    if (endpoint === this.current()) this.#currentIndex = (this.#currentIndex + 1) % this.#endpoints.length;
  }

  /**
   * Calls until an endpoint answers or the deadline passes. Refusals that mean something to the caller (a lease that
   * is not there, a request too large, a compacted revision) are thrown as they are.
   *
   * @throws P2P_METADATA_UNAVAILABLE No endpoint answered in time, or none can be trusted.
   * @throws P2P_METADATA_DENIED The credentials were refused.
   */
  async call<T>(
    work: (endpoint: EtcdEndpoint, attempt: EtcdAttempt) => Promise<T>,
    { signal, deadlineMs = CALL_MS }: EtcdCallOptions,
  ): Promise<T> {
    const abort = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    const endsAtMs = performance.now() + deadlineMs;
    let isUncertain = false;
    let authentications = 0;
    let failure: unknown;
    for (let failures = 0; ; ) {
      abort.throwIfAborted();
      const remainingMs = Math.ceil(endsAtMs - performance.now());
      if (remainingMs <= 0) throw unavailableError(this.uri, failure);
      const endpoint = this.current();
      try {
        return await this.#attempt(endpoint, work, Math.min(ATTEMPT_MS, remainingMs), abort, isUncertain);
      } catch (error) {
        abort.throwIfAborted();
        failure = error;
      }
      if (this.#takeFailure(failure, authentications) === 'authenticate') {
        authentications += 1;
        continue;
      }
      isUncertain ||= !isRefused(failure);
      failures += 1;
      this.leave(endpoint);
      await this.#pauseBetweenRounds(failures, endsAtMs, abort);
    }
  }

  /** Decides how to go on after a failed try; throws when there is no use in another. */
  #takeFailure(failure: unknown, authentications: number): 'authenticate' | 'elsewhere' {
    const kind = classifyFailure(failure);
    if (kind === 'unavailable') return 'elsewhere';
    if (kind === 'token-expired' && this.#credentials !== undefined && authentications < AUTHENTICATIONS_MAX) {
      this.forgetToken();
      return 'authenticate';
    }
    if (kind === 'denied' || kind === 'token-expired') throw deniedError(this.uri, failure);
    if (kind === 'final') throw unavailableError(this.uri, failure);
    throw failure;
  }

  /** Tries the other endpoints at once, but waits before it tries the same one again. */
  async #pauseBetweenRounds(failures: number, endsAtMs: number, abort: AbortSignal): Promise<void> {
    if (failures % this.#endpoints.length !== 0) return;
    const pauseMs = backoffMs(failures / this.#endpoints.length - 1, RETRY);
    await sleep(Math.min(pauseMs, Math.max(0, endsAtMs - performance.now())), abort);
  }

  /** Headers that let a call in. Asks for a token when there is none. */
  async headers(endpoint: EtcdEndpoint, options: ConnectCallOptions): Promise<Record<string, string>> {
    if (this.#credentials === undefined) return {};
    this.#token ??= this.#authenticate(endpoint, options, this.#credentials);
    const token = await this.#token;
    return token === '' ? {} : { token };
  }

  /** The server does not know the token any more; the next call gets a new one. */
  forgetToken(): void {
    this.#token = undefined;
  }

  close(reason: Error): void {
    this.#closing.abort(reason);
    for (const { session } of this.#endpoints) session.abort();
  }

  async #attempt<T>(
    endpoint: EtcdEndpoint,
    work: (endpoint: EtcdEndpoint, attempt: EtcdAttempt) => Promise<T>,
    timeoutMs: number,
    abort: AbortSignal,
    isUncertain: boolean,
  ): Promise<T> {
    const signal = AbortSignal.any([abort, AbortSignal.timeout(timeoutMs)]);
    const run = async (): Promise<T> => {
      const headers = await this.headers(endpoint, { signal, timeoutMs });
      return work(endpoint, { options: { signal, timeoutMs, headers }, isUncertain });
    };
    // Connect does not end the wait for a connection when the signal fires.
    return abortable(run(), signal);
  }

  #authenticate(
    endpoint: EtcdEndpoint,
    options: ConnectCallOptions,
    { username, password }: { readonly username: string; readonly password: string },
  ): Promise<string> {
    const token = endpoint.auth.authenticate({ name: username, password }, options).then(
      (response) => response.token,
      (error: unknown) => {
        if (classifyFailure(error) === 'auth-not-enabled') return '';
        if (this.#token === token) this.#token = undefined;
        throw error;
      },
    );
    return token;
  }
}

export function closedError(uri: string): P2PStoreError<'P2P_CLOSED'> {
  const resource = `metadata store ${uri}`;
  return new P2PStoreError(ErrorCode.Closed, `Cannot use ${resource}: it is closed`, { resource });
}

function openEndpoint(url: string, tls: EtcdTlsOptions | undefined): EtcdEndpoint {
  const session = new GuardedSessions(
    url,
    { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
    tls === undefined ? undefined : toSessionOptions(tls),
  );
  const transport = createGrpcTransport({ baseUrl: url, sessionManager: session, acceptCompression: [] });
  return {
    url,
    session,
    kv: createClient(KV, transport),
    lease: createClient(Lease, transport),
    watch: createClient(Watch, transport),
    auth: createClient(Auth, transport),
  };
}

function toSessionOptions(tls: EtcdTlsOptions): SecureClientSessionOptions {
  const pem = (value: string | Uint8Array): string => Buffer.from(value).toString();
  return {
    ...(tls.ca !== undefined && { ca: pem(tls.ca) }),
    ...(tls.cert !== undefined && { cert: pem(tls.cert) }),
    ...(tls.key !== undefined && { key: pem(tls.key) }),
  };
}
