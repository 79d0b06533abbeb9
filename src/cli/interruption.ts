/**
 * Ctrl-C and its relatives. The first SIGINT, SIGTERM or SIGHUP aborts {@link Interruption.signal}, so that everything
 * in flight ends in good order; the next one ends the process at once.
 */
import type { Readable } from 'node:stream';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Exit code of a process that a user stopped. */
const INTERRUPTED = 130;

/** A terminal that closes, and a program that stops its children, may send two kinds of signal at once. */
const SAME_INTERRUPTION_MS = 100;

export interface InterruptionOptions {
  /** Ends the process at once; another in tests. */
  readonly exit?: (code: number) => void;
  readonly process?: Pick<NodeJS.Process, 'on' | 'off'>;
}

export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #exit: (code: number) => void;
  readonly #process: Pick<NodeJS.Process, 'on' | 'off'>;
  readonly #onSignal = (name: NodeJS.Signals): void => this.#interrupt(name);
  #firstMs = 0;
  #stopInput: (() => void) | undefined;

  constructor(options: InterruptionOptions = {}) {
    this.#exit = options.exit ?? ((code) => process.exit(code));
    this.#process = options.process ?? process;
    for (const name of SIGNALS) this.#process.on(name, this.#onSignal);
  }

  /** Fires at the first interruption, with an `AbortError` as its reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Counts the end of `input` as an interruption, never as a second one. */
  endWith(input: Readable): void {
    const onEnd = (): void => this.#abort('the end of standard input');
    const ends = ['end', 'close', 'error'] as const;
    for (const name of ends) input.on(name, onEnd);
    input.resume();
    this.#stopInput = () => {
      for (const name of ends) input.off(name, onEnd);
      input.on('error', () => {});
      input.destroy();
    };
  }

  /** Resolves at the interruption. */
  async wait(): Promise<void> {
    if (this.signal.aborted) return;
    await new Promise<void>((resolve) => this.signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  #interrupt(name: NodeJS.Signals): void {
    if (!this.signal.aborted) this.#abort(name);
    else if (performance.now() - this.#firstMs > SAME_INTERRUPTION_MS) this.#exit(INTERRUPTED);
  }

  #abort(by: string): void {
    if (this.signal.aborted) return;
    this.#firstMs = performance.now();
    this.#controller.abort(new DOMException(`Interrupted by ${by}`, 'AbortError'));
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) this.#process.off(name, this.#onSignal);
    this.#stopInput?.();
  }
}
