import { type MessagePort, Worker } from 'node:worker_threads';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { CallResult, FromWorker, ToWorker, WorkerSetup } from './messages.ts';

/** A message that expects an answer, without its call id. */
type Call = { readonly [K in ToWorker['kind']]: Omit<Extract<ToWorker, { kind: K; callId: number }>, 'callId'> }[
  | 'listen'
  | 'register'
  | 'unregister'
  | 'count'];

const live = new Set<WorkerHandle>();
/** A busy worker answers within milliseconds. */
const EXIT_WAIT_MS = 1000;

/** The process is about to end, whatever runs: workers let go before their threads are torn down. */
function releaseAll(): void {
  for (const handle of live) handle.post({ kind: 'stop' });
  for (const handle of live) handle.waitUntilReleased(EXIT_WAIT_MS);
}

function track(handle: WorkerHandle): void {
  if (live.size === 0) process.on('exit', releaseAll);
  live.add(handle);
}

function untrack(handle: WorkerHandle): void {
  live.delete(handle);
  if (live.size === 0) process.off('exit', releaseAll);
}

/** The workers allocate little that lives; the default of 48 MB a worker would just fill up. */
const YOUNG_GENERATION_MB = 4;

/** The engine's side of one I/O worker: messages out, answers matched to calls, everything else to `onMessage`. */
export class WorkerHandle {
  readonly #worker: Worker;
  readonly #calls = new Map<number, { resolve(result: CallResult | undefined): void; reject(error: Error): void }>();
  readonly #stopped: Promise<void>;
  readonly #released = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  #nextCallId = 1;
  #isStopping = false;

  constructor(
    setup: Omit<WorkerSetup, 'released'>,
    onMessage: (message: FromWorker) => void,
    onDied: (cause: unknown) => void,
  ) {
    this.#worker = new Worker(new URL('./io-worker.js', import.meta.url), {
      workerData: { ...setup, released: this.#released } satisfies WorkerSetup,
      transferList: setup.siblings as MessagePort[],
      name: 'p2pstore-io',
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      execArgv: [], // some options of the process, as --input-type, are none for a worker
    });
    this.#worker.on('message', (message: FromWorker) => {
      if (message.kind === 'answer') this.#onAnswer(message);
      else onMessage(message);
    });
    track(this);
    let failure: unknown;
    this.#worker.on('error', (cause) => {
      failure = cause;
    });
    this.#stopped = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        untrack(this);
        if (!this.#isStopping) onDied(failure ?? new Error(`I/O worker ended with code ${code}`));
        this.#rejectCalls(failure);
        resolve();
      });
    });
  }

  /** Blocks this thread. */
  waitUntilReleased(timeoutMs: number): void {
    Atomics.wait(new Int32Array(this.#released), 0, 0, timeoutMs);
  }

  /** Does nothing once the worker has been told to stop. */
  post(message: ToWorker): void {
    if (this.#isStopping) return;
    this.#worker.postMessage(message);
  }

  call(call: Call): Promise<CallResult | undefined> {
    const callId = this.#nextCallId++;
    return new Promise((resolve, reject) => {
      if (this.#isStopping) {
        reject(closedError());
        return;
      }
      this.#calls.set(callId, { resolve, reject });
      this.post({ ...call, callId });
    });
  }

  #onAnswer({ callId, result, error }: Extract<FromWorker, { kind: 'answer' }>): void {
    const call = this.#calls.get(callId);
    this.#calls.delete(callId);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new P2PStoreError(ErrorCode.InvalidArgument, error, { argument: 'dataPort' }));
  }

  #rejectCalls(cause: unknown): void {
    for (const { reject } of this.#calls.values()) reject(closedError(cause));
    this.#calls.clear();
  }

  async stop(): Promise<void> {
    this.post({ kind: 'stop' });
    this.#isStopping = true;
    await this.#stopped;
  }
}

function closedError(cause?: unknown): P2PStoreError<'P2P_CLOSED'> {
  return new P2PStoreError(
    ErrorCode.Closed,
    'Cannot use the I/O worker: it has ended',
    { resource: 'I/O worker' },
    { cause },
  );
}
