import { GIB, isPowerOfTwo, KIB, MIB } from '../core/units.ts';
import type { MemoryInput } from '../memory/resolve-memory.ts';
import type { DownloadProgress } from '../swarm/download-types.ts';
import { invalidArgument } from './object-name.ts';
import { BUFFERS_MAX } from './records.ts';

export interface StoreCallOptions {
  /** Ends the call, which then rejects with `signal.reason`; `AbortSignal.timeout(ms)` makes a deadline. */
  readonly signal?: AbortSignal | undefined;
}

export interface RegisterOptions extends StoreCallOptions {
  /** Registers also over a name that is live in another store, whose pulls then end with P2P_OBJECT_SUPERSEDED. Default false. */
  readonly force?: boolean | undefined;
  /** Bytes that are transferred and verified as one, a power of two from 4 KiB to `maxShardSize`. Default: see `receivers`. */
  readonly pieceSize?: number | undefined;
  /** How many stores will pull at the same time; the more, the smaller the pieces. The faster the link, the larger. Default 64. */
  readonly receivers?: number | undefined;
  /** By what receivers verify every piece. `none` saves computing digests, and finds no flipped bit. Default `xxh64`. */
  readonly verify?: 'xxh64' | 'blake3' | 'none' | undefined;
}

export interface RegisterFileOptions extends RegisterOptions {
  /** Bytes, a power of two. Default 64 MiB. */
  readonly maxShardSize?: number | undefined;
  /** Default `*`. */
  readonly location?: string | undefined;
}

export interface GetReplicaOptions extends StoreCallOptions {
  /** Called a few times a second while bytes arrive. What it throws is ignored. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** `none` trusts the network and every source. Default: what the object carries. */
  readonly verify?: 'xxh64' | 'blake3' | 'none' | undefined;
}

export interface StatusWatchCallOptions extends StoreCallOptions {
  /** From one status to the next, 100 to 3,600,000 ms. Default 1,000. */
  readonly intervalMs?: number | undefined;
}

export const DEFAULT_SHARD_SIZE_BYTES: number = 64 * MIB;
const SHARD_SIZE_BYTES_MAX = 4 * GIB;
const PIECE_SIZE_BYTES_MIN: number = 4 * KIB;
const INTERVAL_MS = { min: 100, max: 3_600_000 };
const ALGORITHMS: readonly unknown[] = ['xxh64', 'blake3', 'none'];

/** @throws P2P_INVALID_ARGUMENT */
export function checkMaxShardSize(maxShardSize: number): void {
  if (isPowerOfTwo(maxShardSize) && maxShardSize <= SHARD_SIZE_BYTES_MAX) return;
  throw invalidArgument('maxShardSize', `${String(maxShardSize)} is not a power of two up to ${SHARD_SIZE_BYTES_MAX}`);
}

/** @throws P2P_INVALID_ARGUMENT */
export function checkPieceOptions(
  { pieceSize, receivers }: Pick<RegisterOptions, 'pieceSize' | 'receivers'>,
  maxShardSize: number,
): void {
  const isPieceSize = (size: number): boolean =>
    isPowerOfTwo(size) && size >= PIECE_SIZE_BYTES_MIN && size <= maxShardSize;
  if (pieceSize !== undefined && !isPieceSize(pieceSize)) {
    const state = `is not a power of two from ${PIECE_SIZE_BYTES_MIN} to maxShardSize, ${maxShardSize}`;
    throw invalidArgument('pieceSize', `${String(pieceSize)} ${state}`);
  }
  if (receivers !== undefined && !(Number.isSafeInteger(receivers) && receivers > 0)) {
    throw invalidArgument('receivers', `${String(receivers)} is not a whole number above 0`);
  }
}

/** @throws P2P_INVALID_ARGUMENT */
export function checkVerifyOption(verify: unknown): void {
  if (verify === undefined || ALGORITHMS.includes(verify)) return;
  throw invalidArgument('verify', `"${String(verify)}" is none of ${ALGORITHMS.join(', ')}`);
}

/** @throws P2P_INVALID_ARGUMENT */
export function checkIntervalMs(intervalMs: number): void {
  if (intervalMs >= INTERVAL_MS.min && intervalMs <= INTERVAL_MS.max) return;
  throw invalidArgument('intervalMs', `${String(intervalMs)} is not within ${INTERVAL_MS.min} to ${INTERVAL_MS.max}`);
}

/** @throws P2P_INVALID_ARGUMENT More buffers than a record can list. */
export function checkBufferCount(addrList: readonly MemoryInput[]): void {
  if (!Array.isArray(addrList) || addrList.length <= BUFFERS_MAX) return;
  throw invalidArgument('addrList', `it has ${addrList.length} buffers, the limit is ${BUFFERS_MAX}`);
}
