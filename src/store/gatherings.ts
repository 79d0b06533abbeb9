import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { StoreParts } from './store-parts.ts';
import { WaitingStore } from './waiting-store.ts';

/** The objects that this store waits for, each once. */
export class Gatherings implements AsyncDisposable {
  readonly #opened = new Map<string, Promise<WaitingStore>>();
  readonly #listed = new Map<string, WaitingStore>();

  /** How many others wait for the same object, as far as is known; of very many only some. */
  othersOf(name: string): number {
    return this.#listed.get(name)?.others ?? 0;
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
    const opening = WaitingStore.open(parts, name, signal);
    this.#opened.set(name, opening);
    try {
      this.#listed.set(name, await opening);
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
    if (this.#opened.get(name) !== opening) return;
    this.#opened.delete(name);
    this.#listed.delete(name);
  }
}
