import type { Clock } from '../core/clock.ts';
import type { DownloadProgress, DownloadResult } from './download-types.ts';
import type { DigestChoice, ObjectLayout } from './layout.ts';
import { ProgressMeter } from './progress-meter.ts';
import type { Scheduler } from './scheduler.ts';

export interface DownloadReportInput {
  readonly layout: ObjectLayout;
  readonly scheduler: Pick<Scheduler, 'snapshot'>;
  readonly clock: Clock;
  readonly verified: DigestChoice;
  /** Least time between two calls of `onProgress`, in ms. */
  readonly intervalMs: number;
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined;
  /** `onProgress` threw. */
  readonly onError: (error: unknown) => void;
}

/** Tells the caller, and peers that ask for the status, how a download goes. */
export class DownloadReport {
  readonly #input: DownloadReportInput;
  readonly #meter: ProgressMeter;
  #toldMs = 0;

  constructor(input: DownloadReportInput) {
    this.#input = input;
    this.#meter = new ProgressMeter(input.clock.nowMs());
  }

  add(segment: string, role: 'gold' | 'replica', bytes: number): void {
    this.#meter.add(segment, role, bytes);
  }

  sample(nowMs: number): void {
    this.#meter.sample(nowMs);
  }

  /** Calls `onProgress`, unless it was called just before. */
  tell(): void {
    const { onProgress, clock, intervalMs } = this.#input;
    const nowMs = clock.nowMs();
    if (onProgress === undefined || nowMs - this.#toldMs < intervalMs) return;
    this.#toldMs = nowMs;
    try {
      onProgress(this.progress());
    } catch (error) {
      this.#input.onError(error);
    }
  }

  progress(): DownloadProgress {
    const { scheduler, layout, clock } = this.#input;
    const holders = new Map(scheduler.snapshot().map((holder) => [holder.id, holder]));
    return {
      bytesDone: this.#meter.bytes,
      bytesTotal: layout.totalSize,
      bytesPerSecond: this.#meter.bytesPerSecond(clock.nowMs()),
      sources: this.#meter.sources().map((source) => {
        const holder = holders.get(source.segment);
        const isSending = holder !== undefined && holder.piecesInFlight > 0;
        return { ...source, bytesPerSecond: isSending ? holder.bytesPerSecond : 0 };
      }),
    };
  }

  /** Call it once, when all is there: it tells the progress a last time. */
  result(): DownloadResult {
    const { layout, verified, clock, onProgress } = this.#input;
    onProgress?.(this.progress());
    const seconds = this.#meter.seconds(clock.nowMs());
    const bytesPerSecond = seconds > 0 ? layout.totalSize / seconds : 0;
    return { bytes: layout.totalSize, seconds, bytesPerSecond, verified, sources: this.#meter.sources() };
  }
}
