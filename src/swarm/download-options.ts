import type { SchedulerOptions } from './scheduler-options.ts';

/** Tunes one download. */
export interface DownloadOptions {
  /** Sources known at once, 1 to 1,024; which ones is chance. Default 64. */
  readonly neighboursMax?: number;
  /** How long a piece may have no source before the download fails, in ms. Default 5,000: one may come back. */
  readonly graceMs?: number;
  /** Least time between two progress reports, in ms. Default 200. */
  readonly progressIntervalMs?: number;
  /** Arrived pieces that may wait for their digest or their check before no more are asked. Default 64. */
  readonly unverifiedPiecesMax?: number;
  /** Of the choices left to chance; a run with the same events repeats. Default random. */
  readonly seed?: number;
  readonly scheduler?: SchedulerOptions;
}

export type ResolvedDownloadOptions = Required<DownloadOptions>;

export function resolveDownloadOptions(options: DownloadOptions = {}): ResolvedDownloadOptions {
  return {
    neighboursMax: 64,
    graceMs: 5_000,
    progressIntervalMs: 200,
    unverifiedPiecesMax: 64,
    seed: Math.floor(Math.random() * 2 ** 32),
    scheduler: {},
    ...options,
  };
}
