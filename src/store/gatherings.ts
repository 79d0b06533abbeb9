import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { StoreParts } from './store-parts.ts';
import { WaitingStore } from './waiting-store.ts';

interface Opened {
  readonly opening: Promise<WaitingStore>;
  /** Once it is open. */
  store: WaitingStore | undefined;
}

/** The objects that this store waits for, each once. */
export class Gatherings implements AsyncDisposable {
  readonly #opened = new Map<string, Opened>();

  /** How many others wait for the same object, as far as is known; of very many only some. */
  othersOf(name: string): number {
    return this.#opened.get(name)?.store?.others ?? 0;
  }

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
    const opened: Opened = { opening: WaitingStore.open(parts, name, signal), store: undefined };
    this.#opened.set(name, opened);
    try {
      opened.store = await opened.opening;
    } catch (error) {
      this.#opened.delete(name);
      throw error;
    }
    return { [Symbol.asyncDispose]: () => this.#close(name, opened) };
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#opened].map(([name, opened]) => this.#close(name, opened)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(name: string, opened: Opened): Promise<void> {
    await (await opened.opening).close();
    if (this.#opened.get(name) === opened) this.#opened.delete(name);
  }
}
