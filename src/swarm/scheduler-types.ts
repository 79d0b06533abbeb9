/** What goes into a scheduler and what comes out of it. */
import type { Flight } from './scheduler-holder.ts';
import type { SchedulerOptions } from './scheduler-options.ts';

export interface SchedulerInput {
  readonly pieces: number;
  readonly pieceBytes: (piece: number) => number;
  readonly seed: number;
  readonly options?: SchedulerOptions;
}

/**
 * How a request ended without its bytes. `busy` and `sent`: it was refused, because the holder has enough to send, or has
 * sent the piece to somebody else a moment ago.
 */
export type FlightEnd = 'failed' | 'stalled' | 'canceled' | 'busy' | 'sent';

/** What follows from the end of a request. */
export interface FlightOutcome {
  /** Requests for the same piece that are now useless: cancel them, then report each as canceled. */
  readonly cancel: readonly Flight[];
  /**
   * The piece is in memory and nothing writes to it any more: verify it. The first of `holders` sent it; the others,
   * who lost, may have written to it too.
   */
  readonly ready: { readonly piece: number; readonly holders: readonly string[] } | undefined;
  /** The holder failed too often in a row: take it away until there is news of it. */
  readonly shouldGiveUp: boolean;
}

export type SchedulerVerdict = 'running' | 'complete' | { readonly missing: readonly number[] };
