/** What the pool and its worker threads say to each other. */
import type { MemoryRange } from '../memory/memory-range.ts';
import type { DigestAlgorithm } from './digest-bytes.ts';

/** `foreground` overtakes `background` within a few milliseconds. */
export type DigestPriority = 'foreground' | 'background';

export interface JobRequest {
  readonly id: number;
  readonly algorithm: DigestAlgorithm;
  readonly ranges: readonly MemoryRange[];
  readonly priority: DigestPriority;
}

/** Every job gets exactly one result, and its memory is not touched after that. */
export type WorkerRequest =
  | { readonly kind: 'jobs'; readonly jobs: readonly JobRequest[] }
  /** Stop the job if it still runs; its result is `dropped`. */
  | { readonly kind: 'cancel'; readonly id: number }
  /** Stop every job that has not begun. */
  | { readonly kind: 'drop-waiting' };

export type JobResult =
  | { readonly kind: 'digest'; readonly id: number; readonly digest: Uint8Array }
  | {
      readonly kind: 'fault';
      readonly id: number;
      readonly address: bigint;
      readonly lengthBytes: number;
      readonly cause: Error;
    }
  | { readonly kind: 'failure'; readonly id: number; readonly cause: unknown }
  | { readonly kind: 'dropped'; readonly id: number };

export type WorkerResponse = readonly JobResult[];
