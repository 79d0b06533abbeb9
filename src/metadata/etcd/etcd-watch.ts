import { Code, ConnectError } from '@connectrpc/connect';
import { abortable, sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { isP2PStoreError } from '../../core/errors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Entry, Watch, WatchEvent, WatchOptions } from '../metadata-store.ts';
import { CALL_MS, closedError, type EtcdChannel, type EtcdEndpoint } from './etcd-channel.ts';
import { classifyFailure, deniedError, unavailableError } from './etcd-errors.ts';
import { toRange, toWatchEvent } from './etcd-records.ts';
import type { WatchResponse } from './gen/etcd_pb.ts';

/** A server that has not confirmed a watch by then is left. */
const CREATE_MS = 3000;
const RETRY = { firstMs: 100, maxMs: 2000 };

interface EtcdWatchContext {
  readonly logger: Logger;
  readonly list: (signal: AbortSignal) => Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }>;
  readonly onClose: () => void;
}

/**
 * One watch: a stream that is opened anew, at the revision after the last one seen, whenever it breaks.
 *
 * connect -> created -> events ... -> (broken: wait, connect) | (compacted: list, onReset, connect) | closed
 */
export class EtcdWatch implements Watch {
  readonly #channel: EtcdChannel;
  readonly #prefix: string;
  readonly #options: WatchOptions;
  readonly #context: EtcdWatchContext;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #done: Promise<void>;
  #nextRevision: bigint;
  #failures = 0;
  #lastFailure: unknown;
  #markCreated: () => void = () => {};
  readonly #created: Promise<void>;

  constructor(channel: EtcdChannel, prefix: string, options: WatchOptions, context: EtcdWatchContext) {
    this.#channel = channel;
    this.#prefix = prefix;
    this.#options = options;
    this.#context = context;
    this.#nextRevision = options.fromRevision;
    this.#signal = AbortSignal.any([this.#closing.signal, channel.closingSignal]);
    this.#created = new Promise((resolve) => {
      this.#markCreated = resolve;
    });
    this.#done = this.#run();
  }

  /**
   * Waits until the server has confirmed the watch for the first time; closes it when that fails.
   *
   * @throws P2P_METADATA_UNAVAILABLE, P2P_METADATA_DENIED, P2P_CLOSED
   */
  async opened(): Promise<void> {
    const deadline = AbortSignal.timeout(CALL_MS);
    try {
      await abortable(Promise.race([this.#created, this.#done]), AbortSignal.any([this.#signal, deadline]));
    } catch (error) {
      await this.close();
      throw deadline.aborted ? unavailableError(this.#channel.uri, this.#lastFailure) : error;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(closedError(this.#channel.uri));
    this.#context.onClose();
    await this.#done.catch(() => {}); // told by opened()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    let isConfirmed = false;
    void this.#created.then(() => {
      isConfirmed = true;
    });
    while (!this.#signal.aborted) {
      const endpoint = this.#channel.current();
      try {
        await this.#stream(endpoint);
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#lastFailure = error;
        const isDenied = this.#recover(endpoint, error);
        if (isDenied && !isConfirmed) throw deniedError(this.#channel.uri, error);
        await sleep(backoffMs(this.#failures, RETRY), this.#signal).catch(() => {});
        this.#failures += 1;
      }
    }
  }

  /** Prepares the next try. Returns whether the credentials were refused, also with a new token. */
  #recover(endpoint: EtcdEndpoint, error: unknown): boolean {
    const kind = classifyFailure(error);
    this.#context.logger.warn({ endpoint: endpoint.url, prefix: this.#prefix, kind, error }, 'metadata watch broken');
    // An unknown token and a missing permission look alike on a watch, so the first refusal gets a new token.
    if (kind === 'token-expired' || kind === 'denied') this.#channel.forgetToken();
    else this.#channel.leave(endpoint);
    return isP2PStoreError(error, 'P2P_METADATA_DENIED') || (kind === 'denied' && this.#failures > 0);
  }

  async #stream(endpoint: EtcdEndpoint): Promise<void> {
    const stream = new AbortController();
    const signal = AbortSignal.any([this.#signal, stream.signal]);
    const createTimer = setTimeout(
      () => stream.abort(new ConnectError('watch not confirmed', Code.Unavailable)),
      CREATE_MS,
    );
    createTimer.unref();
    try {
      const headers = await abortable(this.#channel.headers(endpoint, { signal }), signal);
      // A member that is cut off from the leader would go silent; this makes it end the stream.
      const responses = endpoint.watch.watch(this.#requests(signal), {
        signal,
        headers: { ...headers, hasleader: 'true' },
      });
      for await (const response of responses) {
        if (response.created && !response.canceled) clearTimeout(createTimer);
        if (!(await this.#take(response))) return;
      }
      throw new ConnectError('the server ended the watch', Code.Unavailable);
    } catch (error) {
      throw stream.signal.aborted ? stream.signal.reason : error;
    } finally {
      clearTimeout(createTimer);
      stream.abort();
    }
  }

  /** Keeps the request side open for as long as the watch: closing it would end the watch. */
  async *#requests(signal: AbortSignal) {
    const createRequest = { ...toRange(this.#prefix), startRevision: this.#nextRevision, progressNotify: true };
    yield { requestUnion: { case: 'createRequest' as const, value: createRequest } };
    if (signal.aborted) return;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  /** Returns false when the stream has served its time and the next one goes on. */
  async #take(response: WatchResponse): Promise<boolean> {
    if (response.canceled) {
      if (response.compactRevision === 0n) throw new ConnectError(response.cancelReason, Code.Unavailable);
      const { entries, revision } = await this.#context.list(this.#signal);
      this.#nextRevision = revision + 1n;
      this.#options.onReset(entries, revision);
      return false;
    }
    if (response.created) {
      this.#failures = 0;
      this.#markCreated();
      return true;
    }
    const events = response.events.map(toWatchEvent).filter((event) => event !== undefined);
    const last = response.events.at(-1)?.kv?.modRevision ?? response.header?.revision;
    if (last !== undefined && last >= this.#nextRevision) this.#nextRevision = last + 1n;
    if (events.length > 0) this.#deliver(events);
    return true;
  }

  #deliver(events: readonly WatchEvent[]): void {
    try {
      this.#options.onEvents(events);
    } catch (error) {
      this.#context.logger.error({ prefix: this.#prefix, error }, 'metadata watcher threw');
    }
  }
}
