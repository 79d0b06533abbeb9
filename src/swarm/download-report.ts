import type { Clock } from '../core/clock.ts';
import type { DownloadProgress, DownloadResult } from './download-types.ts';
import type { DigestChoice, ObjectLayout } from './layout.ts';
import { type MeteredSource, ProgressMeter } from './progress-meter.ts';

export interface DownloadReportInput {
  readonly layout: ObjectLayout;
  /** What requests under way have brought so far, by the segment that was asked. */
  readonly inFlight: () => Iterable<readonly [segment: string, bytes: number]>;
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
    this.#meter = new ProgressMeter(input.clock.nowMs(), input.inFlight);
  }

  /** A source is asked for a piece. */
  ask(segment: string, role: 'gold' | 'replica'): void {
    this.#meter.ask(segment, role);
  }

  /** A request has ended and has brought so much, whatever that is good for. */
  receive(segment: string, bytes: number): void {
    this.#meter.receive(segment, bytes);
  }

  /** @returns The role of who has sent it. */
  verify(segment: string, bytes: number): 'gold' | 'replica' | undefined {
    return this.#meter.verify(segment, bytes);
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
    const { layout, clock } = this.#input;
    const rates = this.#meter.rates(clock.nowMs());
    const sources = this.#meter
      .sources()
      .map((source) => ({ ...source, bytesPerSecond: rates.get(source.segment) ?? 0 }))
      .filter(({ bytes, bytesPerSecond }) => bytes > 0 || bytesPerSecond > 0);
    return {
      bytesDone: this.#meter.bytes,
      bytesTotal: layout.totalSize,
      bytesPerSecond: sources.reduce((total, source) => total + source.bytesPerSecond, 0),
      sources,
    };
  }

  /** What came from whom, when nothing comes any more. */
  last(): DownloadProgress {
    const sources = this.#senders().map((source) => ({ ...source, bytesPerSecond: 0 }));
    return { bytesDone: this.#meter.bytes, bytesTotal: this.#input.layout.totalSize, bytesPerSecond: 0, sources };
  }

  /** Call it once, when all is there: it tells the progress a last time. */
  result(): DownloadResult {
    const { layout, verified, clock, onProgress } = this.#input;
    onProgress?.(this.progress());
    const seconds = this.#meter.seconds(clock.nowMs());
    const bytesPerSecond = seconds > 0 ? layout.totalSize / seconds : 0;
    return { bytes: layout.totalSize, seconds, bytesPerSecond, verified, sources: this.#senders() };
  }

  #senders(): MeteredSource[] {
    return this.#meter.sources().filter(({ bytes }) => bytes > 0);
  }
}
