/** Another p2pstore process of the demo, followed through its JSON events. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { abortable } from '../core/abort.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { OutputEvent } from './output.ts';

const SCRIPT = path.join(import.meta.dirname, '../../bin/p2pstore');
/** How long a child may take to unregister and end before it is killed. */
const STOP_MS = 10_000;
/** Lines that a child wrote last, for the message when it fails. */
const LAST_WORDS_MAX = 3;

export interface DemoListeners {
  readonly onEvent?: (event: OutputEvent) => void;
  /** Gets every line that the process writes to its standard error. */
  readonly onLog?: (line: string) => void;
}

export class DemoChild implements AsyncDisposable {
  readonly label: string;
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exited: Promise<void>;
  readonly #events = new Map<string, OutputEvent>();
  readonly #waiting = new Set<() => void>();
  readonly #onEvent: (event: OutputEvent) => void;
  #lastWords: string[] = [];
  #isGone = false;

  /** Starts `p2pstore` with `args`. It stops at the latest when this process ends, as that closes its standard input. */
  constructor(label: string, args: readonly string[], listeners: DemoListeners = {}) {
    this.label = label;
    this.#onEvent = listeners.onEvent ?? (() => {});
    this.#process = spawn(process.execPath, [SCRIPT, ...args, '--json', '--until-stdin-ends'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process.stdin.on('error', () => {}); // it ended before it was told to
    createInterface({ input: this.#process.stderr }).on('line', (line) => {
      this.#lastWords = [...this.#lastWords, line].slice(-LAST_WORDS_MAX);
      listeners.onLog?.(`${label}: ${line}`);
    });
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#take(line));
    this.#exited = new Promise((resolve) => {
      const onGone = (): void => {
        this.#isGone = true;
        this.#wake();
        resolve();
      };
      this.#process.once('close', onGone).once('error', (error) => {
        this.#lastWords.push(error.message);
        onGone();
      });
    });
  }

  /**
   * @returns The first event of this kind, also one that came before.
   * @throws P2P_CLOSED The process ended without it.
   */
  async event(kind: OutputEvent['event'], signal: AbortSignal): Promise<OutputEvent> {
    for (;;) {
      const found = this.#events.get(kind);
      if (found !== undefined) return found;
      if (this.#isGone) throw this.#goneError();
      await abortable(new Promise<void>((resolve) => this.#waiting.add(resolve)), signal);
    }
  }

  /** Asks the process to stop, and kills it when it does not. Idempotent. */
  async close(): Promise<void> {
    if (this.#isGone) return;
    this.#process.stdin.end();
    const patience = new AbortController();
    const expired = delay(STOP_MS, true, { signal: patience.signal }).catch(() => false);
    if (await Promise.race([this.#exited.then(() => false), expired])) this.#process.kill('SIGKILL');
    patience.abort();
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #take(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) return;
    if (!this.#events.has(event.event)) this.#events.set(event.event, event);
    this.#onEvent(event);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #goneError(): P2PStoreError {
    return new P2PStoreError(
      ErrorCode.Closed,
      `Cannot go on: ${this.label} ended early: ${this.#lastWords.join('; ') || 'no word'}`,
      {
        resource: this.label,
      },
    );
  }
}

function parseEvent(line: string): OutputEvent | undefined {
  try {
    const event: unknown = JSON.parse(line);
    return typeof event === 'object' && event !== null && 'event' in event ? (event as OutputEvent) : undefined;
  } catch {
    return undefined; // the output of a process that crashes
  }
}
