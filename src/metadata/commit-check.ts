import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { Condition, Write } from './metadata-store.ts';

/** Longest key in UTF-8 bytes. LMDB takes 1,978 with 4 KiB pages; 8 of them are needed for the lease index. */
export const KEY_BYTES_MAX = 1536;
/** Conditions, and separately writes, in one commit: etcd's default `--max-txn-ops`. */
export const COMMIT_OPERATIONS_MAX = 128;
/** Keys and values of one commit together: etcd refuses requests above 1.5 MiB by default; the rest is framing. */
export const COMMIT_BYTES_MAX = 1_500_000;
/** Shortest and longest lease. The upper bound only catches a unit mix-up. */
export const LEASE_TTL_MS_MIN = 1;
export const LEASE_TTL_MS_MAX: number = 24 * 3600 * 1000;

function invalid(argument: string, message: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, message, { argument });
}

/** @throws P2P_INVALID_ARGUMENT A key is empty, longer than {@link KEY_BYTES_MAX} or not well-formed Unicode. */
export function checkKey(key: string): void {
  checkPrefix(key);
  if (key.length === 0) throw invalid('key', 'Cannot use a key: it is empty');
}

/** Like {@link checkKey}, but a prefix may be empty. */
export function checkPrefix(prefix: string): void {
  const bytes = Buffer.from(prefix);
  if (bytes.length > KEY_BYTES_MAX) {
    throw invalid('key', `Cannot use a key of ${bytes.length} bytes: at most ${KEY_BYTES_MAX} are allowed`);
  }
  // A lone surrogate would be stored as U+FFFD, so that two different strings meant one key.
  if (bytes.toString() !== prefix) throw invalid('key', 'Cannot use a key: it is not well-formed Unicode');
}

export function checkLeaseTtl(ttlMs: number): void {
  if (!(ttlMs >= LEASE_TTL_MS_MIN && ttlMs <= LEASE_TTL_MS_MAX)) {
    throw invalid(
      'ttlMs',
      `Cannot grant a lease of ${ttlMs} ms: it must be in [${LEASE_TTL_MS_MIN}, ${LEASE_TTL_MS_MAX}]`,
    );
  }
}

/**
 * Checks what every store demands of a commit, so that what one accepts all accept.
 *
 * @throws P2P_INVALID_ARGUMENT A bad key, a key written twice, or too many operations.
 * @throws P2P_RECORD_TOO_LARGE Keys and values exceed {@link COMMIT_BYTES_MAX}.
 */
export function checkCommit(conditions: readonly Condition[], writes: readonly Write[]): void {
  checkCount('conditions', conditions.length);
  checkCount('writes', writes.length);
  for (const condition of conditions) {
    if (condition.kind === 'prefix-empty') checkPrefix(condition.prefix);
    else checkKey(condition.key);
  }
  const keys = new Set<string>();
  let sizeBytes = 0;
  for (const write of writes) {
    checkKey(write.key);
    if (write.kind === 'put' && write.leaseId !== undefined) parseLeaseId(write.leaseId);
    if (keys.has(write.key)) throw invalid('writes', `Cannot commit: key "${write.key}" is written twice`);
    keys.add(write.key);
    sizeBytes += Buffer.byteLength(write.key) + (write.kind === 'put' ? write.value.length : 0);
    if (sizeBytes > COMMIT_BYTES_MAX) throw recordTooLarge(write.key, sizeBytes);
  }
}

function checkCount(argument: string, count: number): void {
  if (count <= COMMIT_OPERATIONS_MAX) return;
  throw invalid(argument, `Cannot commit ${count} ${argument}: at most ${COMMIT_OPERATIONS_MAX} are allowed`);
}

export function recordTooLarge(key: string, sizeBytes: number, cause?: unknown): P2PStoreError<'P2P_RECORD_TOO_LARGE'> {
  return new P2PStoreError(
    ErrorCode.RecordTooLarge,
    `Cannot commit "${key}": ${sizeBytes} bytes exceed what the metadata store takes`,
    { key, sizeBytes, limitBytes: COMMIT_BYTES_MAX },
    { cause },
  );
}

export function leaseLost(leaseId: string, cause?: unknown): P2PStoreError<'P2P_LEASE_LOST'> {
  return new P2PStoreError(ErrorCode.LeaseLost, `Cannot use lease ${leaseId}: it has ended`, { leaseId }, { cause });
}

/** Lease ids are positive decimal 64-bit integers in every store. */
export function parseLeaseId(leaseId: string): bigint {
  if (!/^[1-9][0-9]{0,18}$/.test(leaseId)) throw invalid('leaseId', 'Cannot use a lease: its id is malformed');
  return BigInt(leaseId);
}

export function checkFromRevision(fromRevision: bigint): void {
  if (fromRevision < 1n) throw invalid('fromRevision', `Cannot watch from revision ${fromRevision}: the first is 1`);
}
