import { assert } from './assert.ts';
import { ErrorCode, P2PStoreError } from './errors.ts';

type State =
  | { readonly tag: 'open'; readonly inflight: Set<Promise<unknown>> }
  | { readonly tag: 'draining'; readonly done: Promise<void> }
  | { readonly tag: 'closed' };

/** Owns in-flight work: `close()` refuses more, waits for what runs, and is safe to call twice. */
export class Gate implements AsyncDisposable {
  readonly #resource: string;
  #state: State = { tag: 'open', inflight: new Set() };

  constructor(resource: string) {
    this.#resource = resource;
  }

  get isOpen(): boolean {
    return this.#state.tag === 'open';
  }

  /** @throws P2P_CLOSED (as a rejection) once `close()` has been called. */
  run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#state.tag !== 'open') return Promise.reject(this.closedError());
    const { inflight } = this.#state;
    const task = work().finally(() => inflight.delete(task));
    inflight.add(task);
    return task;
  }

  closedError(): P2PStoreError<'P2P_CLOSED'> {
    return new P2PStoreError(ErrorCode.Closed, `Cannot use ${this.#resource}: it is closed`, {
      resource: this.#resource,
    });
  }

  close(): Promise<void> {
    switch (this.#state.tag) {
      case 'closed':
        return Promise.resolve();
      case 'draining':
        return this.#state.done;
      case 'open': {
        const done = Promise.allSettled(this.#state.inflight).then(() => {
          assert(this.#state.tag === 'draining');
          this.#state = { tag: 'closed' };
        });
        this.#state = { tag: 'draining', done };
        return done;
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
