import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { StoreParts } from './store-parts.ts';
import { WaitingStore } from './waiting-store.ts';

/** The objects that this store waits for, each once. */
export class Gatherings implements AsyncDisposable {
  readonly #opened = new Map<string, Promise<WaitingStore>>();

  /**
   * @returns Takes the store off the list again when it is disposed of.
   * @throws P2P_PAYLOAD_OPENED The store waits for that object already.
   */
  async open(parts: StoreParts, name: string, signal: AbortSignal): Promise<AsyncDisposable> {
    if (this.#opened.has(name)) {
      throw new P2PStoreError(ErrorCode.PayloadOpened, `Cannot wait for "${name}": this store waits for it already`, {
        name,
      });
    }
    const opening = WaitingStore.open(parts, name, signal);
    this.#opened.set(name, opening);
    try {
      await opening;
    } catch (error) {
      this.#opened.delete(name);
      throw error;
    }
    return { [Symbol.asyncDispose]: () => this.#close(name, opening) };
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#opened].map(([name, opening]) => this.#close(name, opening)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(name: string, opening: Promise<WaitingStore>): Promise<void> {
    await (await opening).close();
    if (this.#opened.get(name) === opening) this.#opened.delete(name);
  }
}
