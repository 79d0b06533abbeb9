import { createHash } from 'node:crypto';
import { createClient, ErrorReply, RESP_TYPES } from '@redis/client';
import { abortable, sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { RedisAddress } from './redis-address.ts';
import { type ScriptName, scriptText } from './redis-scripts.ts';

/** What Redis answers when strings come as bytes. */
export type Reply = Buffer | number | null | readonly Reply[];

/** For one call with all its attempts. */
const CALL_MS = 5000;
const CONNECT_MS = 3000;
/** A server that is gone without a word is noticed after the second without an answer. */
const PING_MS = 2000;
const SILENCE_MS = 6000;

/** The server is up but not ready, or about to hand over. */
const PASSING = /^(?:LOADING|BUSY|MASTERDOWN|READONLY|TRYAGAIN|CLUSTERDOWN|NOSCRIPT)\b/;
const DENIED = /^(?:NOAUTH|WRONGPASS|NOPERM|ERR (?:AUTH|invalid username-password))/i;

const SCRIPTS = new Map<ScriptName, { readonly text: string; readonly sha: string }>();

function scriptOf(name: ScriptName): { readonly text: string; readonly sha: string } {
  const known = SCRIPTS.get(name);
  if (known !== undefined) return known;
  const text = scriptText(name);
  const script = { text, sha: createHash('sha1').update(text).digest('hex') };
  SCRIPTS.set(name, script);
  return script;
}

function isDenied(error: unknown): boolean {
  return error instanceof ErrorReply && DENIED.test(error.message);
}

interface Readiness {
  readonly promise: Promise<void>;
  readonly isSettled: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

function newReadiness(): Readiness {
  let isSettled = false;
  let [resolve, reject]: [() => void, (error: unknown) => void] = [() => {}, () => {}];
  const promise = new Promise<void>((resolvePromise, rejectPromise) => {
    resolve = resolvePromise;
    reject = rejectPromise;
  });
  const settled = promise.finally(() => {
    isSettled = true;
  });
  settled.catch(() => {}); // whoever asks next hears of it
  return {
    promise: settled,
    get isSettled() {
      return isSettled;
    },
    resolve,
    reject,
  };
}

type Client = ReturnType<typeof createClient>;

/** One connection to a Redis server that comes back by itself. Every call is tried anew until its time is over. */
export class RedisConnection {
  readonly uri: string;
  readonly #client: Client;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  /** Whether the connection that there is, or the next, has been prepared. */
  #readiness: Readiness = newReadiness();

  constructor(address: RedisAddress, logger: Logger) {
    this.uri = address.uri;
    this.#logger = logger;
    this.#client = createClient({
      url: address.url,
      disableOfflineQueue: true, // what is sent must meet a server that was prepared
      pingInterval: PING_MS,
      socket: {
        connectTimeout: CONNECT_MS,
        socketTimeout: SILENCE_MS,
        reconnectStrategy: (retries) => backoffMs(retries, { firstMs: 50, maxMs: 1000 }),
      },
    });
    this.#client.on('error', (error) => {
      logger.debug({ uri: this.uri, error }, 'metadata connection failed');
      if (isDenied(error)) this.#readiness.reject(error);
    });
    this.#client.on('reconnecting', () => {
      if (this.#readiness.isSettled) this.#readiness = newReadiness();
    });
    this.#client.on('ready', () => void this.#prepare());
  }

  /**
   * @throws P2P_METADATA_UNAVAILABLE The server did not answer within 5 s.
   * @throws P2P_METADATA_DENIED It refuses the credentials.
   */
  async open(): Promise<void> {
    const connecting = this.#client.connect();
    try {
      await abortable(Promise.all([connecting, this.#readiness.promise]), AbortSignal.timeout(CALL_MS));
    } catch (error) {
      throw this.#translate(error);
    }
  }

  /** A server that was started anew has lost what it had not saved: see the script `init`. */
  async #prepare(): Promise<void> {
    const readiness = this.#readiness;
    try {
      const server = String(await this.#client.sendCommand(['INFO', 'server']));
      const [, runId = 'unknown'] = /^run_id:(\w+)/m.exec(server) ?? [];
      await this.#client.sendCommand(['EVAL', scriptOf('init').text, '0', runId]);
      readiness.resolve();
    } catch (error) {
      if (this.#closing.signal.aborted || !this.#client.isReady) return; // the next connection is prepared
      this.#logger.warn({ uri: this.uri, error }, 'metadata server not prepared');
      if (isDenied(error)) return readiness.reject(error);
      await sleep(backoffMs(3, { firstMs: 50, maxMs: 1000 }));
      if (this.#client.isReady) await this.#prepare();
    }
  }

  /** @throws P2P_METADATA_UNAVAILABLE, P2P_METADATA_DENIED, P2P_CLOSED, and the reason of an abort. */
  async run(name: ScriptName, args: readonly (string | Buffer)[], signal?: AbortSignal): Promise<Reply> {
    const { text, sha } = scriptOf(name);
    return this.#try(signal, async (attempt) => {
      // Sent whole when the server does not know it: SCRIPT LOAD and EVALSHA could meet two servers.
      const command = attempt === 0 ? ['EVALSHA', sha] : ['EVAL', text];
      return this.#send([...command, '0', ...args]);
    });
  }

  /** Any other command; it must not matter how often it is carried out. */
  send(command: readonly string[], signal?: AbortSignal): Promise<Reply> {
    return this.#try(signal, () => this.#send(command));
  }

  #send(command: readonly (string | Buffer)[]): Promise<Reply> {
    const typeMapping = { [RESP_TYPES.BLOB_STRING]: Buffer };
    return this.#client.sendCommand<Reply>([...command], { typeMapping });
  }

  async #try(signal: AbortSignal | undefined, work: (attempt: number) => Promise<Reply>): Promise<Reply> {
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw this.closedError();
    const deadline = AbortSignal.timeout(CALL_MS);
    const until = AbortSignal.any([deadline, this.#closing.signal, ...(signal === undefined ? [] : [signal])]);
    const failure: { last?: unknown } = {};
    try {
      for (let attempt = 0; ; attempt += 1) {
        await abortable(this.#readiness.promise, until);
        const reply = await abortable(work(attempt), until).catch((error: unknown) => {
          until.throwIfAborted();
          failure.last = error;
          return this.#delayAfter(error, attempt, until);
        });
        if (reply !== undefined) return reply;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (this.#closing.signal.aborted) throw this.closedError();
      throw this.#translate(deadline.aborted ? (failure.last ?? error) : error);
    }
  }

  /** Waits before the next attempt; throws what no attempt will change. */
  async #delayAfter(error: unknown, attempt: number, until: AbortSignal): Promise<undefined> {
    if (error instanceof ErrorReply && !PASSING.test(error.message)) throw error;
    if (error instanceof ErrorReply && error.message.startsWith('NOSCRIPT')) return;
    await sleep(backoffMs(attempt, { firstMs: 20, maxMs: 500 }), until);
  }

  #translate(cause: unknown): P2PStoreError {
    const state = cause instanceof Error && cause.name !== 'TimeoutError' ? cause.message : 'it did not answer in time';
    return new P2PStoreError(
      isDenied(cause) ? ErrorCode.MetadataDenied : ErrorCode.MetadataUnavailable,
      `Cannot use metadata store ${this.uri}: ${state}`,
      { uri: this.uri },
      { cause },
    );
  }

  closedError(): P2PStoreError<'P2P_CLOSED'> {
    const resource = `metadata store ${this.uri}`;
    return new P2PStoreError(ErrorCode.Closed, `Cannot use ${resource}: it is closed`, { resource });
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#client.destroy();
  }
}
