import { type SchedulerOptions, schedulerDefaults } from '../swarm/scheduler-options.ts';

const PIECES_MIN = 2;

/**
 * How to pull under a download limit: no more pieces at once than come in a second, so that each is soon whole and can be served on;
 * and no piece from two sources, as the second copy would take its bytes from the same limit.
 *
 * @param maxBytesPerSecond - Undefined: there is no limit, and nothing to change.
 */
export function limitedPullOptions(maxBytesPerSecond: number | undefined, pieceSizeBytes: number): SchedulerOptions {
  if (maxBytesPerSecond === undefined) return {};
  const piecesMax = Math.min(
    schedulerDefaults.piecesMax,
    Math.max(PIECES_MIN, Math.ceil(maxBytesPerSecond / pieceSizeBytes) + 1),
  );
  return { piecesMax, copiesMax: 1 };
}
