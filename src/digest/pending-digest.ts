import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { MemoryRange } from '../memory/memory-range.ts';
import type { JobRequest, JobResult } from './digest-message.ts';
import type { DigestThread, ThreadJob } from './digest-thread.ts';

/** One call of `DigestPool.digest`: queued, then with a thread, then settled. */
export class PendingDigest implements ThreadJob {
  readonly request: JobRequest;
  readonly totalBytes: number;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
  thread: DigestThread | undefined;
  readonly #settle: (outcome: Uint8Array | { readonly reason: unknown }) => void;

  constructor(
    request: JobRequest,
    signal: AbortSignal | undefined,
    onAbort: (job: PendingDigest) => void,
    settle: (outcome: Uint8Array | { readonly reason: unknown }) => void,
  ) {
    this.request = request;
    this.totalBytes = sumBytes(request.ranges);
    this.signal = signal;
    this.onAbort = () => onAbort(this);
    this.#settle = settle;
  }

  finish(result: JobResult): void {
    if (this.signal?.aborted) this.fail(this.signal.reason);
    else if (result.kind === 'digest') this.#settle(result.digest);
    else this.fail(resultError(result));
  }

  lose(cause: unknown): void {
    this.fail(this.signal?.aborted ? this.signal.reason : workerError(cause));
  }

  fail(reason: unknown): void {
    this.#settle({ reason });
  }
}

export function sumBytes(ranges: readonly MemoryRange[]): number {
  return ranges.reduce((sum, range) => sum + range.lengthBytes, 0);
}

export function closedError(): P2PStoreError {
  return new P2PStoreError(ErrorCode.Closed, 'Cannot digest: the pool is closed', { resource: 'digest pool' });
}

function workerError(cause: unknown): P2PStoreError {
  const context = { worker: 'digest' };
  return new P2PStoreError(ErrorCode.WorkerFailed, 'Cannot digest: the worker thread failed', context, { cause });
}

/** @returns Why a job has no digest. */
export function resultError(result: Exclude<JobResult, { kind: 'digest' }>): P2PStoreError {
  switch (result.kind) {
    case 'fault': {
      const { address, lengthBytes, cause } = result;
      return new P2PStoreError(ErrorCode.MemoryFault, cause.message, { address, lengthBytes }, { cause });
    }
    case 'failure':
      return workerError(result.cause);
    case 'dropped':
      return closedError();
  }
}
