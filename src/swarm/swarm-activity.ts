import type { DownloadProgress } from './download-types.ts';

/** A download that has begun and not ended. */
export interface RunningDownload {
  progress(): DownloadProgress;
  /** Sources that tell it what they have. */
  readonly connectedNeighbours: number;
}

/** `wrong_bytes`: it sent what does not match its digest. `unreadable`: its memory cannot be read. `failing`: its requests fail. */
export type BanReason = 'wrong_bytes' | 'unreadable' | 'failing';

/** What the downloads of one store are doing and have done, for whoever counts. */
export class SwarmActivity {
  readonly running: Set<RunningDownload> = new Set();
  readonly ended: Record<'completed' | 'failed' | 'canceled', number> = { completed: 0, failed: 0, canceled: 0 };
  /** By the role of the source. */
  readonly verifiedBytes: Record<'gold' | 'replica', number> = { gold: 0, replica: 0 };
  readonly bans: Record<BanReason, number> = { wrong_bytes: 0, unreadable: 0, failing: 0 };
  verifiedPieces = 0;
  mismatches = 0;
}
