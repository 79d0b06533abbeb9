import { Gate } from '../core/gate.ts';
import type { MemoryRange } from '../memory/memory-range.ts';
import type { Digester } from '../swarm/digester.ts';

type DigestOptions = NonNullable<Parameters<Digester['digest']>[2]>;

/**
 * A digester for the memory of one object, which may be freed once `close()` has resolved: that stops the jobs that have no
 * signal of their own, and waits for all. (Joining two signals for every piece costs more than handing the piece over.)
 */
export class TrackedDigester implements Digester, AsyncDisposable {
  readonly #pool: Digester;
  readonly #gate = new Gate('digests of an object');
  readonly #closing = new AbortController();

  constructor(pool: Digester) {
    this.#pool = pool;
  }

  /**
   * @param options.signal - Whoever gives one fires it before `close()`.
   * @throws P2P_CLOSED After `close()`, also when it stops the job.
   */
  digest(
    algorithm: 'xxh64' | 'blake3',
    ranges: readonly MemoryRange[],
    { signal, ...options }: DigestOptions = {},
  ): Promise<Uint8Array> {
    const stop = signal ?? this.#closing.signal;
    return this.#gate.run(() => this.#pool.digest(algorithm, ranges, { ...options, signal: stop }));
  }

  async close(): Promise<void> {
    this.#closing.abort(this.#gate.closedError());
    await this.#gate.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
