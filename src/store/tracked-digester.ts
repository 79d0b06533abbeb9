import { Gate } from '../core/gate.ts';
import type { MemoryRange } from '../memory/memory-range.ts';
import type { Digester } from '../swarm/digester.ts';

type DigestOptions = NonNullable<Parameters<Digester['digest']>[2]>;

/**
 * A digester for the memory of one object, which may be freed once `close()` has resolved: jobs that a peer's doubt
 * started are stopped and waited for, like all others.
 */
export class TrackedDigester implements Digester, AsyncDisposable {
  readonly #pool: Digester;
  readonly #gate = new Gate('digests of an object');
  readonly #closing = new AbortController();

  constructor(pool: Digester) {
    this.#pool = pool;
  }

  /** @throws P2P_CLOSED After `close()`, also when it stops the job. */
  digest(
    algorithm: 'xxh64' | 'blake3',
    ranges: readonly MemoryRange[],
    { signal, ...options }: DigestOptions = {},
  ): Promise<Uint8Array> {
    const closing = this.#closing.signal;
    const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
    return this.#gate.run(() => this.#pool.digest(algorithm, ranges, { ...options, signal: either }));
  }

  async close(): Promise<void> {
    this.#closing.abort(this.#gate.closedError());
    await this.#gate.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
