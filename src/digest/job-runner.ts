import { ErrorCode, isP2PStoreError } from '../core/errors.ts';
import { MIB } from '../core/units.ts';
import { createHasher, type Hasher } from './digest-bytes.ts';
import type { JobRequest, JobResult, WorkerRequest } from './digest-message.ts';
import { MemoryReader } from './memory-reader.ts';

/** Digested between two looks at the inbox: 0.5 ms of xxh64, 2 ms of blake3. */
const STEP_BYTES = 4 * MIB;

interface RunningJob {
  readonly request: JobRequest;
  /** Made when the job begins: its library may be one that cannot be loaded, which is then the job's result. */
  hasher: Hasher | undefined;
  rangeIndex: number;
  /** Bytes of the current range that are digested. */
  offset: number;
}

/**
 * Digests jobs step by step in one thread, so that between steps a more urgent one can overtake and a cancelled one can
 * stop. The thread around it feeds requests and takes results.
 */
export class JobRunner {
  readonly #waiting: Record<JobRequest['priority'], RunningJob[]> = { foreground: [], background: [] };
  readonly #reader = new MemoryReader();
  #results: JobResult[] = [];
  #hasUrgentResult = false;

  accept(request: WorkerRequest): void {
    switch (request.kind) {
      case 'jobs':
        for (const job of request.jobs) {
          this.#waiting[job.priority].push({ request: job, hasher: undefined, rangeIndex: 0, offset: 0 });
        }
        return;
      case 'cancel':
        this.#drop((job) => job.request.id === request.id);
        return;
      case 'drop-waiting':
        this.#drop((job) => job.hasher === undefined);
    }
  }

  /** Works for a few milliseconds at most. Returns false when there is nothing to do. */
  step(): boolean {
    const queue = this.#waiting.foreground.length > 0 ? this.#waiting.foreground : this.#waiting.background;
    const job = queue[0];
    if (job === undefined) return false;
    const result = this.#advance(job);
    if (result === undefined) return true;
    queue.shift();
    this.#results.push(result);
    this.#hasUrgentResult ||= job.request.priority === 'foreground';
    return true;
  }

  /** Whether somebody waits for a result that is there. Others may be taken a few at a time. */
  get hasUrgentResult(): boolean {
    return this.#hasUrgentResult;
  }

  get resultCount(): number {
    return this.#results.length;
  }

  takeResults(): readonly JobResult[] {
    const results = this.#results;
    this.#results = [];
    this.#hasUrgentResult = false;
    return results;
  }

  #drop(isDropped: (job: RunningJob) => boolean): void {
    for (const queue of Object.values(this.#waiting)) {
      for (let index = queue.length - 1; index >= 0; index -= 1) {
        const job = queue[index];
        if (job === undefined || !isDropped(job)) continue;
        queue.splice(index, 1);
        this.#results.push({ kind: 'dropped', id: job.request.id });
        this.#hasUrgentResult = true;
      }
    }
  }

  #advance(job: RunningJob): JobResult | undefined {
    const { id, algorithm, ranges } = job.request;
    try {
      job.hasher ??= createHasher(algorithm);
      let budgetBytes = STEP_BYTES;
      for (let range = ranges[job.rangeIndex]; range !== undefined; range = ranges[job.rangeIndex]) {
        if (job.offset === range.lengthBytes) {
          job.rangeIndex += 1;
          job.offset = 0;
          continue;
        }
        if (budgetBytes === 0) return undefined;
        const lengthBytes = Math.min(budgetBytes, range.lengthBytes - job.offset);
        const bytes = this.#reader.read({ ...range, address: range.address + job.offset, lengthBytes });
        job.hasher.update(bytes);
        job.offset += bytes.length;
        budgetBytes -= bytes.length;
      }
      return { kind: 'digest', id, digest: job.hasher.digest() };
    } catch (cause) {
      return failedResult(id, cause);
    }
  }
}

function failedResult(id: number, cause: unknown): JobResult {
  if (!isP2PStoreError(cause, ErrorCode.MemoryFault)) return { kind: 'failure', id, cause };
  // A posted error keeps its message and stack, not its fields.
  const { address, lengthBytes } = cause.context;
  return { kind: 'fault', id, address, lengthBytes, cause };
}
