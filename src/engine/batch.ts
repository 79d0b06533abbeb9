import type { P2PStoreError } from '../core/errors.ts';
import type { Segment } from './segment.ts';
import type { Batch, LocalRange, RefuseWhen, Task, TaskStatus, TransferPriority, TransferRequest } from './transfer.ts';
import type { EndedStatus, TransferCounts } from './transfer-counts.ts';
import type { RequestSink, TransportName, TransportRequest } from './transport/transport.ts';

/** What a task tells its batch. */
interface TaskOwner {
  onPartSettled(part: TaskPart, error: P2PStoreError | 'canceled' | undefined, digest?: Uint8Array): void;
}

class TransferTask implements Task {
  readonly request: TransferRequest;
  status: TaskStatus = 'WAITING';
  transferredBytes = 0;
  error: P2PStoreError | undefined;
  digest: Uint8Array | undefined;
  /** Of its local ranges, not settled yet. */
  unsettledParts = 0;
  isCanceled = false;

  constructor(request: TransferRequest) {
    this.request = request;
  }
}

/** One contiguous move of a task, as a transport sees it. A class, so that thousands of them share their methods. */
class TaskPart implements TransportRequest {
  readonly opcode: 'read' | 'write';
  readonly segment: Segment;
  readonly localAddress: number;
  readonly remoteAddress: number;
  readonly lengthBytes: number;
  readonly refuseWhen: RefuseWhen | undefined;
  readonly digestAlgorithm: 'xxh64' | undefined;
  readonly priority: TransferPriority;
  carrier: TransportName | undefined;
  readonly #task: TransferTask;
  readonly #owner: TaskOwner;

  constructor(task: TransferTask, owner: TaskOwner, priority: TransferPriority, local: PlacedRange) {
    const { opcode, segment, refuseWhen, digestAlgorithm } = task.request;
    this.opcode = opcode;
    this.segment = segment;
    this.localAddress = local.localAddress;
    this.remoteAddress = local.remoteAddress;
    this.lengthBytes = local.lengthBytes;
    this.refuseWhen = refuseWhen;
    this.digestAlgorithm = digestAlgorithm;
    this.priority = priority;
    this.carrier = undefined;
    this.#task = task;
    this.#owner = owner;
  }

  get task(): TransferTask {
    return this.#task;
  }

  onProgress(bytes: number): void {
    this.#task.transferredBytes += bytes;
  }

  onSettled(error: P2PStoreError | 'canceled' | undefined, digest?: Uint8Array): void {
    this.#owner.onPartSettled(this, error, digest);
  }
}

interface PlacedRange {
  readonly localAddress: number;
  readonly remoteAddress: number;
  readonly lengthBytes: number;
}

/** Where the bytes of a request lie on both sides, one entry for each contiguous move. */
function* placedRangesOf(request: TransferRequest): Generator<PlacedRange> {
  let remoteAddress = Number(request.remoteAddress);
  for (const { address, lengthBytes } of localRangesOf(request)) {
    if (lengthBytes > 0) yield { localAddress: Number(address), remoteAddress, lengthBytes };
    remoteAddress += lengthBytes;
  }
}

/** The local memory of a request, in the order of its bytes. */
export function localRangesOf({ localRanges, localAddress = 0, lengthBytes }: TransferRequest): readonly LocalRange[] {
  return localRanges ?? [{ address: localAddress, lengthBytes }];
}

export interface BatchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default `normal`. */
  readonly priority?: TransferPriority | undefined;
  /** Refuses a request before anything is sent; undefined lets it pass. */
  readonly check: (request: TransferRequest) => P2PStoreError | undefined;
  readonly transport: RequestSink;
  /** Where its tasks are counted when they end. */
  readonly counts?: TransferCounts | undefined;
}

/** Requests that were submitted together: starts them, keeps their statuses, and tells when all is quiet. */
export class TransferBatch implements Batch, TaskOwner {
  readonly tasks: readonly Task[];
  readonly done: Promise<void>;
  readonly #transport: RequestSink;
  readonly #counts: TransferCounts | undefined;
  readonly #inflight = new Set<TaskPart>();
  readonly #finish: (error?: unknown) => void;
  #unsettled: number;
  #firstError: P2PStoreError | undefined;
  #cancelReason: unknown;
  #isCanceled = false;

  constructor(requests: readonly TransferRequest[], options: BatchOptions) {
    const { signal, transport, counts } = options;
    this.#transport = transport;
    this.#counts = counts;
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
    this.#start(tasks, options);
    if (this.#unsettled > 0) signal?.addEventListener('abort', onAbort, { once: true });
    if (requests.length === 0) this.#finish();
  }

  #start(tasks: readonly TransferTask[], { check, priority = 'normal' }: BatchOptions): void {
    for (const task of tasks) {
      const error = check(task.request);
      if (error !== undefined) this.#settle(task, 'INVALID', error);
      else if (this.#isCanceled) this.#settle(task, 'CANCELED');
      else if (task.request.lengthBytes === 0) this.#settle(task, 'COMPLETED');
      else this.#createParts(task, priority);
    }
    this.#transport.submit([...this.#inflight]);
  }

  #createParts(task: TransferTask, priority: TransferPriority): void {
    task.status = 'PENDING';
    for (const range of placedRangesOf(task.request)) {
      task.unsettledParts += 1;
      this.#inflight.add(new TaskPart(task, this, priority, range));
    }
  }

  onPartSettled(part: TaskPart, error: P2PStoreError | 'canceled' | undefined, digest?: Uint8Array): void {
    const { task, carrier, opcode, lengthBytes } = part;
    this.#inflight.delete(part);
    if (error === undefined && carrier !== undefined && this.#counts !== undefined) {
      this.#counts.bytes[carrier][opcode] += lengthBytes;
    }
    task.unsettledParts -= 1;
    if (error === 'canceled') task.isCanceled = true;
    else task.error ??= error;
    task.digest = digest;
    if (task.unsettledParts > 0) return;
    if (task.error !== undefined) this.#settle(task, 'FAILED', task.error);
    else this.#settle(task, task.isCanceled ? 'CANCELED' : 'COMPLETED');
  }

  #settle(task: TransferTask, status: EndedStatus, error?: P2PStoreError): void {
    task.status = status;
    if (this.#counts !== undefined) this.#counts.tasks[status] += 1;
    task.error = error;
    this.#firstError ??= error;
    this.#unsettled -= 1;
    if (this.#unsettled > 0) return;
    const wasStopped = this.#isCanceled && this.tasks.some((other) => other.status === 'CANCELED');
    this.#finish(wasStopped ? this.#cancelReason : this.#firstError);
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
