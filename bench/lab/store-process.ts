import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { processCpuSeconds } from './cpu.ts';

/** One line of `p2pstore --json`, and when it arrived. */
export interface StoreEvent {
  readonly event: string;
  /** By `performance.now()` of the laboratory. */
  readonly atMs: number;
  readonly bytes?: number;
  readonly totalBytes?: number;
  readonly seconds?: number;
  readonly from?: readonly { readonly segment: string; readonly role: string; readonly bytes: number }[];
}

export interface StoreProcessOptions {
  /** For messages: the host. */
  readonly name: string;
  readonly namespace: string;
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly logFile: string;
  /** Also keeps what the process writes to standard output. */
  readonly keepOutput: boolean;
}

const LOG_TAIL_CHARACTERS = 1500;

/** A program in the network namespace of a host. `ip netns exec` becomes that program: the process id is its own. */
export class StoreProcess {
  readonly name: string;
  /** Resolves with the exit code, or the signal, once it has ended. */
  readonly ended: Promise<string>;
  onProgress: ((event: StoreEvent) => void) | undefined;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #events = new Map<string, PromiseWithResolvers<StoreEvent>>();
  #cpuSecondsAtEnd: number | undefined;
  #endState: string | undefined;

  constructor({ name, namespace, command, logFile, keepOutput }: StoreProcessOptions) {
    this.name = name;
    this.#logFile = logFile;
    const log = openSync(logFile, 'a');
    const { P2PSTORE_SEGMENT: _, P2PSTORE_METADATA: __, ...environment } = process.env;
    this.#child = spawn('ip', ['netns', 'exec', namespace, ...command], {
      stdio: ['ignore', 'pipe', log],
      env: { ...environment, P2PSTORE_TRANSPORTS: 'tcp' }, // hosts of the laboratory are one host: links are to be used
      detached: true, // Ctrl-C is for the laboratory, which then ends its processes itself
    });
    closeSync(log);
    this.ended = once(this.#child, 'close').then(([code, signal]) => String(signal ?? code));
    this.ended.then((state) => this.#failAll(state)).catch((error: unknown) => this.#failAll(String(error)));
    if (this.#child.stdout === null) throw new Error('child has no stdout');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (keepOutput) appendFileSync(logFile, `${line}\n`);
      this.#read(line);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get cpuSeconds(): number {
    return this.#cpuSecondsAtEnd ?? processCpuSeconds(this.pid);
  }

  /** The first event of this kind, past or to come. Rejects when the process ends without. */
  event(kind: string): Promise<StoreEvent> {
    return this.#promised(kind).promise;
  }

  /** Ends it at once, and keeps its CPU time. */
  kill(): void {
    this.#cpuSecondsAtEnd = this.cpuSeconds;
    this.#child.kill('SIGKILL');
  }

  /** Asks it to end in good order. */
  stop(): void {
    this.#cpuSecondsAtEnd ??= this.cpuSeconds;
    this.#child.kill('SIGTERM');
  }

  #read(line: string): void {
    if (!line.startsWith('{')) return;
    const event = { ...(JSON.parse(line) as StoreEvent), atMs: performance.now() };
    if (event.event === 'progress') this.onProgress?.(event);
    else this.#promised(event.event).resolve(event);
  }

  #promised(kind: string): PromiseWithResolvers<StoreEvent> {
    const known = this.#events.get(kind);
    if (known !== undefined) return known;
    const promised = withResolvers<StoreEvent>();
    promised.promise.catch(() => {}); // whoever waits hears of it
    this.#events.set(kind, promised);
    if (this.#endState !== undefined) this.#fail(kind, promised);
    return promised;
  }

  #failAll(state: string): void {
    this.#endState = state;
    for (const [kind, promised] of this.#events) this.#fail(kind, promised);
  }

  #fail(kind: string, promised: PromiseWithResolvers<StoreEvent>): void {
    const log = readFileSync(this.#logFile, 'utf8').slice(-LOG_TAIL_CHARACTERS).trim();
    const state = `${this.name} ended (${this.#endState}) before its event "${kind}"`;
    promised.reject(new Error(log === '' ? state : `${state}:\n${log}`));
  }
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}

/** Node 20 has no `Promise.withResolvers`. */
function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<T>((onDone, onFailed) => {
    resolve = onDone;
    reject = onFailed;
  });
  return { promise, resolve, reject };
}
