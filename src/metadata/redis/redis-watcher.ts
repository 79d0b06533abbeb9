import { sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { CoalescedWrite } from '../../core/coalesced-write.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Entry, Watch, WatchEvent, WatchOptions } from '../metadata-store.ts';
import type { RedisConnection, Reply } from './redis-connection.ts';
import { INTERNAL_PREFIX } from './redis-scripts.ts';

/** How long the server holds a question for news. Also how soon a lease that ends is noticed when nobody else writes. */
const HOLD_MS = 500;

export interface WatchSource {
  /** Undefined when part of it is no longer kept. */
  eventsSince(
    revision: bigint,
  ): Promise<{ readonly events: readonly WatchEvent[]; readonly revision: bigint } | undefined>;
  list(prefix: string): Promise<{ readonly entries: readonly Entry[]; readonly revision: bigint }>;
}

interface OpenWatch {
  readonly prefix: string;
  readonly options: WatchOptions;
  nextRevision: bigint;
}

/** Serves all watches of one store from the history, over a connection of its own that waits for news. */
export class RedisWatcher {
  readonly #source: WatchSource;
  readonly #connection: RedisConnection;
  readonly #logger: Logger;
  readonly #watches = new Set<OpenWatch>();
  readonly #delivery: CoalescedWrite = new CoalescedWrite(() => this.#deliver());
  readonly #closing = new AbortController();
  #loop: Promise<void> | undefined;

  /** @param connection - For this watcher alone, not open yet; it is closed with it. */
  constructor(source: WatchSource, connection: RedisConnection, logger: Logger) {
    this.#source = source;
    this.#connection = connection;
    this.#logger = logger;
  }

  async open(prefix: string, options: WatchOptions): Promise<Watch> {
    const watch: OpenWatch = { prefix, options, nextRevision: options.fromRevision };
    const close = async (): Promise<void> => {
      this.#watches.delete(watch);
    };
    this.#watches.add(watch);
    try {
      if (this.#loop === undefined) {
        this.#loop = Promise.resolve(); // one connection, also when several watches come at once
        await this.#connection.open();
        this.#loop = this.#follow();
      }
      await this.#delivery.run();
    } catch (error) {
      await close();
      throw error;
    }
    return { close, [Symbol.asyncDispose]: close };
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#waitForNews();
        await this.#delivery.run();
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ error }, 'metadata watch failed');
        await sleep(backoffMs(failures, { firstMs: 100, maxMs: 2000 }), signal).catch(() => {});
        failures += 1;
      }
    }
  }

  async #waitForNews(): Promise<void> {
    let first: bigint | undefined;
    for (const { nextRevision } of this.#watches) {
      if (first === undefined || nextRevision < first) first = nextRevision;
    }
    if (first === undefined) return sleep(HOLD_MS, this.#closing.signal);
    const after = `${first - 1n}-${2n ** 64n - 1n}`;
    const command = ['XREAD', 'COUNT', '1', 'BLOCK', String(HOLD_MS), 'STREAMS', `${INTERNAL_PREFIX}history`, after];
    await this.#connection.send(command, this.#closing.signal);
  }

  async #deliver(): Promise<void> {
    const watches = [...this.#watches];
    for (const watch of watches) {
      const since = await this.#source.eventsSince(watch.nextRevision);
      if (!this.#watches.has(watch)) continue;
      if (since === undefined) await this.#reset(watch);
      else this.#tell(watch, since);
    }
  }

  #tell(
    watch: OpenWatch,
    { events, revision }: { readonly events: readonly WatchEvent[]; readonly revision: bigint },
  ): void {
    if (revision < watch.nextRevision) return; // starts in the future
    watch.nextRevision = revision + 1n;
    const wanted = events.filter((event) =>
      (event.kind === 'put' ? event.entry.key : event.key).startsWith(watch.prefix),
    );
    if (wanted.length > 0) watch.options.onEvents(wanted);
  }

  async #reset(watch: OpenWatch): Promise<void> {
    const { entries, revision } = await this.#source.list(watch.prefix);
    if (!this.#watches.has(watch)) return;
    watch.nextRevision = revision + 1n;
    watch.options.onReset(entries, revision);
  }

  async close(): Promise<void> {
    this.#watches.clear();
    this.#closing.abort();
    this.#connection.close();
    await this.#loop;
  }
}

/** Reads an entry of the history: its id is revision-position, its fields are k and, of a put, v. */
export function decodeHistoryEntry(entry: Reply): WatchEvent {
  const [id, fields] = entry as readonly [Buffer, readonly Buffer[]];
  const revision = BigInt(id.toString().split('-')[0] ?? '0');
  const [, key, , value] = fields;
  const name = key?.toString() ?? '';
  if (value === undefined) return { kind: 'delete', key: name, revision };
  return { kind: 'put', entry: { key: name, value: new Uint8Array(value), revision } };
}
