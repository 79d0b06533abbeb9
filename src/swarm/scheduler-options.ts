import { MIB } from '../core/units.ts';

/** Tunes one download's scheduler. */
export interface SchedulerOptions {
  /** Pieces in flight from all holders together. Default 64. */
  readonly piecesMax?: number;
  /** Pieces in flight from one holder, 1 to 64; of one that others ask too it begins with fewer. Default 32. */
  readonly holderPiecesMax?: number;
  /** Bytes in flight from one holder; one piece is always allowed. Default 64 MiB: 100 Gbit/s x 5 ms. */
  readonly holderBytesMax?: number;
  /** Work to queue at a holder behind the piece that it sends, in ms. Default 40: covers a busy main thread, and is several pieces of a fast link. */
  readonly queueMs?: number;
  /**
   * Pieces to have in flight at least, from all holders together. Default 6: more than what a receiver gets served at once, so
   * that those who have fallen behind ask as much as the others.
   */
  readonly piecesMin?: number;
  /** Pieces to have in flight beyond what the links hold. Default 2. */
  readonly sparePieces?: number;
  /**
   * Pieces that a source may be busy with and still take one more of this receiver; one that is busier refuses.
   * Default 3: its uplink never rests, few are refused, and no piece waits long. See also `queueMs`.
   */
  readonly busyPieces?: number;
  /** Stores that are about to fetch the object, this one included, as far as is known before they tell what they have. Default 1. */
  readonly receiversExpected?: number;
  /** Holders asked for the same piece at the end. Default 2. */
  readonly copiesMax?: number;
  /** Least time without a byte before a request counts as stalled, in ms. Default 2,000. */
  readonly stallMsMin?: number;
  /** The same for a holder that has not sent anything yet, in ms. Default 5,000: N receivers may share its link. */
  readonly stallUnmeasuredMs?: number;
  /** Times the expected time after which a request counts as stalled. Default 8. */
  readonly stallFactor?: number;
  /** Failures in a row after which a holder is given up. Default 6, about 3 s with the pauses between. */
  readonly failuresMax?: number;
}

export type ResolvedSchedulerOptions = Required<SchedulerOptions>;

export const schedulerDefaults: ResolvedSchedulerOptions = {
  piecesMax: 64,
  holderPiecesMax: 32,
  holderBytesMax: 64 * MIB,
  queueMs: 40,
  piecesMin: 6,
  sparePieces: 2,
  busyPieces: 3,
  receiversExpected: 1,
  copiesMax: 2,
  stallMsMin: 2_000,
  stallUnmeasuredMs: 5_000,
  stallFactor: 8,
  failuresMax: 6,
};
