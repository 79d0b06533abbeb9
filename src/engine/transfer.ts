/** The vocabulary of a transfer: requests go in as a batch, each becomes a task with a status. */
import type { P2PStoreError } from '../core/errors.ts';
import type { Segment } from './segment.ts';

/** Mooncake's task statuses, by its names. */
export type TaskStatus = 'WAITING' | 'PENDING' | 'INVALID' | 'CANCELED' | 'COMPLETED' | 'TIMEOUT' | 'FAILED';

/** When a peer may refuse a READ, so that its bytes are asked of somebody else, or later. */
export interface RefuseWhen {
  /** It has this many bytes or more to send already. */
  readonly queuedBytes: number;
  /** It has sent bytes from the same address in so many ms; 0: does not matter. */
  readonly sentWithinMs: number;
}

/**
 * How urgent a batch is. The requests of a `high` one go before those of all `normal` ones that have not been sent, and do not wait
 * behind those that have.
 */
export type TransferPriority = 'normal' | 'high';

/** A part of the local memory of one request. */
export interface LocalRange {
  /** Virtual address in this process, inside registered memory. */
  readonly address: bigint | number;
  readonly lengthBytes: number;
}

export interface TransferRequest {
  /** `read` copies from the segment into local memory, `write` the other way. */
  readonly opcode: 'read' | 'write';
  readonly segment: Segment;
  /** Virtual address in this process, inside registered memory. Left out with `localRanges`. */
  readonly localAddress?: bigint | number | undefined;
  /**
   * Instead of `localAddress`: a READ scatters its bytes over these ranges, a WRITE gathers them, in their order. Their lengths sum up
   * to `lengthBytes`; at most 65,536. They may lie in different registrations.
   */
  readonly localRanges?: readonly LocalRange[] | undefined;
  /** Virtual address in the other process, inside one buffer that it registered. */
  readonly remoteAddress: bigint | number;
  /** 0 completes at once. */
  readonly lengthBytes: number;
  /**
   * When the peer may refuse a READ of up to 16 MiB; the task then fails with P2P_TRANSFER_REFUSED, and no byte has come. Peers that
   * do not know this never refuse. Not together with `localRanges`. Default: it must not.
   */
  readonly refuseWhen?: RefuseWhen | undefined;
  /**
   * Of a READ: digests its bytes as they come, while they are in the processor's cache, which is cheaper than to read them again.
   * See {@link Task.digest}. Not together with `localRanges`.
   */
  readonly digestAlgorithm?: 'xxh64' | undefined;
}

export interface Task {
  readonly request: TransferRequest;
  readonly status: TaskStatus;
  /** Bytes that have been moved so far, looked at now and then; equals the length once COMPLETED. */
  readonly transferredBytes: number;
  /** Why the status is INVALID, TIMEOUT or FAILED. */
  readonly error: P2PStoreError | undefined;
  /**
   * Once COMPLETED, of the bytes as they came, when the request asked for it and its bytes came in order: over TCP, in one slice.
   * Else undefined, and the memory itself is to be digested. 8 bytes, big-endian.
   */
  readonly digest: Uint8Array | undefined;
}

export interface Batch {
  /** In the order of the requests. */
  readonly tasks: readonly Task[];
  /**
   * Settles when every task has ended and the local memory is quiet: nothing writes to it any more.
   *
   * @throws The error of the first task that failed, or `signal.reason` after an abort.
   */
  readonly done: Promise<void>;
  /** Stops what has not finished; its tasks become CANCELED. `done` settles once the memory is quiet. */
  cancel(reason?: unknown): void;
}
