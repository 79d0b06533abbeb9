import { type MessagePort, Worker } from 'node:worker_threads';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { FromWorker, ToWorker, WorkerSetup } from './messages.ts';

/** A message that expects an answer, without its call id. */
type Call = { readonly [K in ToWorker['kind']]: Omit<Extract<ToWorker, { kind: K; callId: number }>, 'callId'> }[
  | 'listen'
  | 'register'
  | 'unregister'];

/** The engine's side of one I/O worker: messages out, answers matched to calls, everything else to `onMessage`. */
export class WorkerHandle {
  readonly #worker: Worker;
  readonly #calls = new Map<number, { resolve(port: number | undefined): void; reject(error: Error): void }>();
  readonly #stopped: Promise<void>;
  #nextCallId = 1;
  #isStopping = false;

  constructor(setup: WorkerSetup, onMessage: (message: FromWorker) => void, onDied: (cause: unknown) => void) {
    this.#worker = new Worker(new URL('./io-worker.js', import.meta.url), {
      workerData: setup,
      transferList: setup.siblings as MessagePort[],
      name: 'p2pstore-io',
      execArgv: [], // some options of the process, as --input-type, are none for a worker
    });
    this.#worker.on('message', (message: FromWorker) => {
      if (message.kind === 'answer') this.#onAnswer(message);
      else onMessage(message);
    });
    let failure: unknown;
    this.#worker.on('error', (cause) => {
      failure = cause;
    });
    this.#stopped = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        if (!this.#isStopping) onDied(failure ?? new Error(`I/O worker ended with code ${code}`));
        this.#rejectCalls(failure);
        resolve();
      });
    });
  }

  post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  call(call: Call): Promise<number | undefined> {
    const callId = this.#nextCallId++;
    return new Promise((resolve, reject) => {
      if (this.#isStopping) {
        reject(closedError());
        return;
      }
      this.#calls.set(callId, { resolve, reject });
      this.post({ ...call, callId } as ToWorker);
    });
  }

  #onAnswer({ callId, port, error }: Extract<FromWorker, { kind: 'answer' }>): void {
    const call = this.#calls.get(callId);
    this.#calls.delete(callId);
    if (error === undefined) call?.resolve(port);
    else call?.reject(new P2PStoreError(ErrorCode.InvalidArgument, error, { argument: 'dataPort' }));
  }

  #rejectCalls(cause: unknown): void {
    for (const { reject } of this.#calls.values()) reject(closedError(cause));
    this.#calls.clear();
  }

  async stop(): Promise<void> {
    if (!this.#isStopping) {
      this.#isStopping = true;
      this.post({ kind: 'stop' });
    }
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
