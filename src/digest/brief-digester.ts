import { assert } from '../core/assert.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { MIB } from '../core/units.ts';
import type { JobRequest, JobResult } from './digest-message.ts';
import { JobRunner } from './job-runner.ts';
import { sumBytes } from './pending-digest.ts';

/** Takes 0.5 ms of xxh64, 1 ms of blake3. */
const BYTES_MAX = 2 * MIB;
/** Each costs a call of its own. */
const RANGES_MAX = 64;
/** So much takes a twentieth of this thread's time with xxh64, a tenth with blake3. */
const BYTES_PER_MS = 200_000;

/**
 * Digests on the calling thread what is small and does not come often. The way to another thread and back costs this one
 * as much, and on a busy machine, where each of the two wake-ups waits for its turn, far more time: of 16 receivers on two
 * cores each waited 90 ms for the digest of 1 MiB.
 */
export class BriefDigester {
  readonly #runner = new JobRunner();
  readonly #clock: Clock;
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** @returns undefined when the job is for another thread. */
  digest(job: JobRequest): JobResult | undefined {
    if (job.priority === 'background' || job.ranges.length > RANGES_MAX) return undefined;
    const totalBytes = sumBytes(job.ranges);
    const nowMs = this.#clock.nowMs();
    if (totalBytes > BYTES_MAX || nowMs < this.#restsUntilMs) return undefined;
    this.#restsUntilMs = nowMs + totalBytes / BYTES_PER_MS;
    this.#runner.accept({ kind: 'jobs', jobs: [job] });
    while (this.#runner.step());
    const [result] = this.#runner.takeResults();
    assert(result !== undefined, 'a job that has run has a result');
    return result;
  }
}
