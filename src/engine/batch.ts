import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { Batch, Task, TaskStatus, TransferRequest } from './transfer.ts';
import type { RequestSink, TransportRequest } from './transport/transport.ts';

class TransferTask implements Task {
  readonly request: TransferRequest;
  status: TaskStatus = 'WAITING';
  transferredBytes = 0;
  error: P2PStoreError | undefined;

  constructor(request: TransferRequest) {
    this.request = request;
  }
}

export interface BatchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Refuses a request before anything is sent; undefined lets it pass. */
  readonly check: (request: TransferRequest) => P2PStoreError | undefined;
  readonly transport: RequestSink;
}

/** Requests that were submitted together: starts them, keeps their statuses, and tells when all is quiet. */
export class TransferBatch implements Batch {
  readonly tasks: readonly Task[];
  readonly done: Promise<void>;
  readonly #transport: RequestSink;
  readonly #inflight = new Set<TransportRequest>();
  readonly #finish: (error?: unknown) => void;
  #unsettled: number;
  #firstError: P2PStoreError | undefined;
  #cancelReason: unknown;
  #isCanceled = false;

  constructor(requests: readonly TransferRequest[], { signal, check, transport }: BatchOptions) {
    this.#transport = transport;
    this.#unsettled = requests.length;
    let finish: (error?: unknown) => void = () => {};
    this.done = new Promise((resolve, reject) => {
      finish = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.done.catch(() => {}); // a caller who only looks at statuses leaves no unhandled rejection
    const onAbort = (): void => this.cancel(signal?.reason);
    this.#finish = (error) => {
      signal?.removeEventListener('abort', onAbort);
      finish(error);
    };
    const tasks = requests.map((request) => new TransferTask(request));
    this.tasks = tasks;
    if (signal?.aborted === true) {
      this.#isCanceled = true;
      this.#cancelReason = signal.reason;
    }
    this.#start(tasks, check);
    if (this.#unsettled > 0) signal?.addEventListener('abort', onAbort, { once: true });
    if (requests.length === 0) this.#finish();
  }

  #start(tasks: readonly TransferTask[], check: BatchOptions['check']): void {
    const started: TransportRequest[] = [];
    for (const task of tasks) {
      const error = check(task.request);
      if (error !== undefined) this.#settle(task, 'INVALID', error);
      else if (this.#isCanceled) this.#settle(task, 'CANCELED');
      else if (task.request.lengthBytes === 0) this.#settle(task, 'COMPLETED');
      else started.push(this.#createTransportRequest(task));
    }
    for (const request of started) this.#inflight.add(request);
    this.#transport.submit(started);
  }

  #createTransportRequest(task: TransferTask): TransportRequest {
    const { opcode, segment, localAddress, remoteAddress, lengthBytes, refuseWhen } = task.request;
    task.status = 'PENDING';
    const request: TransportRequest = {
      opcode,
      segment,
      localAddress: Number(localAddress),
      remoteAddress: Number(remoteAddress),
      lengthBytes,
      refuseWhen,
      onProgress: (bytes) => {
        task.transferredBytes += bytes;
      },
      onSettled: (error) => {
        this.#inflight.delete(request);
        if (error === undefined) this.#settle(task, 'COMPLETED');
        else if (error === 'canceled') this.#settle(task, 'CANCELED');
        else this.#settle(task, 'FAILED', error);
      },
    };
    return request;
  }

  #settle(task: TransferTask, status: TaskStatus, error?: P2PStoreError): void {
    task.status = status;
    task.error = error;
    this.#firstError ??= error;
    this.#unsettled -= 1;
    if (this.#unsettled > 0) return;
    const wasStopped = this.tasks.some((other) => other.status === 'CANCELED');
    this.#finish(wasStopped && this.#isCanceled ? this.#cancelReason : this.#firstError);
  }

  cancel(reason?: unknown): void {
    if (this.#isCanceled || this.#inflight.size === 0) return;
    this.#isCanceled = true;
    this.#cancelReason = reason ?? new DOMException('The batch was cancelled', 'AbortError');
    this.#transport.cancel([...this.#inflight]);
  }

  /** Whether an unfinished task touches this local memory. */
  touches(address: number, lengthBytes: number): boolean {
    for (const request of this.#inflight) {
      if (request.localAddress < address + lengthBytes && address < request.localAddress + request.lengthBytes)
        return true;
    }
    return false;
  }
}

/** @returns The error of a request that no transport should see. */
export function invalidRequest(argument: string, message: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot transfer: ${message}`, { argument });
}
