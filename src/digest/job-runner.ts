import { ErrorCode, isP2PStoreError } from '../core/errors.ts';
import { KIB, MIB } from '../core/units.ts';
import type { MemoryRange } from '../memory/memory-range.ts';
import { MemoryWindows } from '../memory/memory-windows.ts';
import { addressOf } from '../native/address.ts';
import { copyGuarded } from '../native/copy.ts';
import { createHasher, type Hasher } from './digest-bytes.ts';
import type { JobRequest, JobResult, WorkerRequest } from './digest-message.ts';

/** Digested between two looks at the inbox: 0.5 ms of xxh64, 2 ms of blake3. */
const STEP_BYTES = 4 * MIB;
/**
 * Guarded memory is copied in blocks that stay in the processor's cache until they are digested. Measured over a file
 * mapping, xxh64, GB for each second of processor time: 64 KiB 3.0, 256 KiB 3.6, 512 KiB 3.9, 1 MiB 1.6, 4 MiB 1.5.
 */
const GUARDED_BLOCK_BYTES = 512 * KIB;

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
  readonly #windows = new MemoryWindows();
  #scratch: Uint8Array | undefined;
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
        const bytes = this.#read(range, job.offset, budgetBytes);
        job.hasher.update(bytes);
        job.offset += bytes.length;
        budgetBytes -= bytes.length;
      }
      return { kind: 'digest', id, digest: job.hasher.digest() };
    } catch (cause) {
      return failedResult(id, cause);
    }
  }

  /** Gives the next bytes of a range, 1 to `maxBytes`; valid until the next call. */
  #read(range: MemoryRange, offset: number, maxBytes: number): Uint8Array {
    const address = range.address + offset;
    const lengthBytes = Math.min(maxBytes, range.lengthBytes - offset);
    if (range.access === 'direct') return this.#windows.view(address, lengthBytes);
    this.#scratch ??= new Uint8Array(GUARDED_BLOCK_BYTES);
    const block = this.#scratch.subarray(0, Math.min(lengthBytes, GUARDED_BLOCK_BYTES));
    copyGuarded(address, addressOf(block), block.length);
    return block;
  }
}

function failedResult(id: number, cause: unknown): JobResult {
  if (!isP2PStoreError(cause, ErrorCode.MemoryFault)) return { kind: 'failure', id, cause };
  // A posted error keeps its message and stack, not its fields.
  const { address, lengthBytes } = cause.context;
  return { kind: 'fault', id, address, lengthBytes, cause };
}
