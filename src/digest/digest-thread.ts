import { Worker } from 'node:worker_threads';
import type { Logger } from '../observability/logger.ts';
import type { DigestPriority, JobRequest, JobResult, WorkerRequest, WorkerResponse } from './digest-message.ts';

/**
 * Jobs handed to a thread before their results are back: enough that it has work while the main thread is busy with
 * something else for a few ms. Counted by priority, so that background jobs cannot keep foreground ones out.
 */
const MAX_JOBS: Readonly<Record<DigestPriority, number>> = { foreground: 16, background: 64 };

/** One job as the pool sees it; the thread calls exactly one of the two, once the memory is quiet. */
export interface ThreadJob {
  readonly request: JobRequest;
  readonly totalBytes: number;
  finish(result: JobResult): void;
  /** The thread ended in the middle. */
  lose(cause: unknown): void;
}

/** One worker thread and the jobs it has. Starts it with the first job at the latest, and again after it died. */
export class DigestThread {
  readonly #logger: Logger;
  readonly #onRoom: () => void;
  readonly #jobs = new Map<number, ThreadJob>();
  readonly #count: Record<DigestPriority, number> = { foreground: 0, background: 0 };
  readonly #bytes: Record<DigestPriority, number> = { foreground: 0, background: 0 };
  #unsent: JobRequest[] = [];
  #worker: Worker | undefined;
  #onIdle: (() => void) | undefined;

  /** @param onRoom - Called when jobs have ended, so that there is room for others. */
  constructor(logger: Logger, onRoom: () => void) {
    this.#logger = logger;
    this.#onRoom = onRoom;
  }

  hasRoom(priority: DigestPriority): boolean {
    return this.#count[priority] < MAX_JOBS[priority];
  }

  /** How many bytes a new job of this priority would wait for. */
  bytesAhead(priority: DigestPriority): number {
    return priority === 'foreground' ? this.#bytes.foreground : this.#bytes.foreground + this.#bytes.background;
  }

  /** Starts the thread before there is work for it, unless it runs. It does not hold the process. */
  warmUp(): void {
    try {
      this.#worker ??= this.#start();
      if (this.#jobs.size === 0) this.#worker.unref();
    } catch (error) {
      this.#logger.debug({ error }, 'digest thread not started yet'); // the first job tries again, and fails with the reason
    }
  }

  /** Takes a job; {@link flush} sends it together with others. */
  add(job: ThreadJob): void {
    const { id, priority } = job.request;
    this.#jobs.set(id, job);
    this.#count[priority] += 1;
    this.#bytes[priority] += job.totalBytes;
    this.#unsent.push(job.request);
  }

  flush(): void {
    if (this.#unsent.length === 0) return;
    const jobs = this.#unsent;
    this.#unsent = [];
    try {
      this.#worker ??= this.#start();
    } catch (cause) {
      this.#lose(cause);
      return;
    }
    // An idle thread does not hold the process; one that somebody waits for does.
    this.#worker.ref();
    this.#post({ kind: 'jobs', jobs });
  }

  cancel(id: number): void {
    this.#post({ kind: 'cancel', id });
  }

  /** Drops jobs that have not begun, waits for the others, ends the thread. */
  async close(): Promise<void> {
    if (this.#jobs.size > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      this.#post({ kind: 'drop-waiting' });
      await idle;
    }
    await this.#worker?.terminate();
  }

  #post(request: WorkerRequest): void {
    this.#worker?.postMessage(request);
  }

  #start(): Worker {
    // Without the flags of the process: a loader or a preloaded module of the user is none of the worker's business.
    const worker = new Worker(new URL('./digest-worker.js', import.meta.url), {
      name: 'p2pstore-digest',
      resourceLimits: { maxYoungGenerationSizeMb: 4 }, // it allocates little, so a small one is collected fast
      execArgv: [],
    });
    let cause: unknown;
    worker.on('message', (results: WorkerResponse) => this.#finish(results));
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (exitCode) => this.#lose(cause ?? new Error(`the thread exited with ${exitCode}`)));
    return worker;
  }

  #finish(results: WorkerResponse): void {
    for (const result of results) this.#take(result.id)?.finish(result);
    this.#settle();
  }

  /** The thread has ended, so it touches no memory any more. */
  #lose(cause: unknown): void {
    this.#worker = undefined;
    const lostJobs = this.#jobs.size;
    if (lostJobs > 0) this.#logger.warn({ lostJobs, cause }, 'digest thread ended');
    for (const id of [...this.#jobs.keys()]) this.#take(id)?.lose(cause);
    this.#settle();
  }

  #settle(): void {
    if (this.#jobs.size === 0) {
      this.#worker?.unref();
      this.#onIdle?.();
    }
    this.#onRoom();
  }

  #take(id: number): ThreadJob | undefined {
    const job = this.#jobs.get(id);
    if (job === undefined) return undefined;
    this.#jobs.delete(id);
    this.#count[job.request.priority] -= 1;
    this.#bytes[job.request.priority] -= job.totalBytes;
    return job;
  }
}
