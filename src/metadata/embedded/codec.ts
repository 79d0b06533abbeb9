/**
 * Layout of the database. Integers are big endian, so that byte order is number order.
 *
 *   state      "state"                        -> revision u64, compacted revision u64, last lease id u64, events u64, event bytes u64
 *   entries    key                            -> revision u64, lease id u64 (0 none), value
 *   leases     lease id u64                   -> JSON of LeaseRecord
 *   leaseKeys  lease id u64, key              -> nothing
 *   history    revision u64, index u16        -> kind u8 (0 put, 1 delete), key length u16, key, value
 */
import type { WatchEvent } from '../metadata-store.ts';
import type { ProcessIdentity } from './process-identity.ts';

export interface StoreState {
  revision: bigint;
  compactedRevision: bigint;
  lastLeaseId: bigint;
  historyEvents: bigint;
  historyBytes: bigint;
}

export interface StoredEntry {
  readonly revision: bigint;
  /** 0 when the key hangs on no lease. */
  readonly leaseId: bigint;
  readonly value: Uint8Array;
}

export interface LeaseRecord {
  readonly ttlMs: number;
  /** On the machine's clock, which restarts with each boot. */
  readonly expiresAtMs: number;
  readonly owner?: ProcessIdentity;
}

export function encodeState(state: StoreState): Buffer {
  const { revision, compactedRevision, lastLeaseId, historyEvents, historyBytes } = state;
  return Buffer.concat([revision, compactedRevision, lastLeaseId, historyEvents, historyBytes].map(encodeU64));
}

export function decodeState(bytes: Buffer | undefined): StoreState {
  if (bytes === undefined) {
    return { revision: 1n, compactedRevision: 0n, lastLeaseId: 0n, historyEvents: 0n, historyBytes: 0n };
  }
  const field = (index: number): bigint => bytes.readBigUInt64BE(index * 8);
  return {
    revision: field(0),
    compactedRevision: field(1),
    lastLeaseId: field(2),
    historyEvents: field(3),
    historyBytes: field(4),
  };
}

export function encodeU64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

export function encodeEntry({ revision, leaseId, value }: StoredEntry): Buffer {
  return Buffer.concat([encodeU64(revision), encodeU64(leaseId), value]);
}

export function decodeEntry(bytes: Buffer): StoredEntry {
  return {
    revision: bytes.readBigUInt64BE(0),
    leaseId: bytes.readBigUInt64BE(8),
    value: new Uint8Array(bytes.subarray(16)),
  };
}

export function encodeLease(lease: LeaseRecord): Buffer {
  return Buffer.from(JSON.stringify(lease));
}

export function decodeLease(bytes: Buffer): LeaseRecord {
  return JSON.parse(bytes.toString()) as LeaseRecord;
}

export function encodeHistoryKey(revision: bigint, index: number): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeBigUInt64BE(revision);
  bytes.writeUInt16BE(index, 8);
  return bytes;
}

export function encodeEvent(event: WatchEvent): Buffer {
  const isPut = event.kind === 'put';
  const key = Buffer.from(isPut ? event.entry.key : event.key);
  const head = Buffer.alloc(3);
  head.writeUInt8(isPut ? 0 : 1);
  head.writeUInt16BE(key.length, 1);
  return Buffer.concat(isPut ? [head, key, event.entry.value] : [head, key]);
}

export function decodeEvent(revision: bigint, bytes: Buffer): WatchEvent {
  const keyEnd = 3 + bytes.readUInt16BE(1);
  const key = bytes.toString('utf8', 3, keyEnd);
  if (bytes.readUInt8() === 1) return { kind: 'delete', key, revision };
  return { kind: 'put', entry: { key, value: new Uint8Array(bytes.subarray(keyEnd)), revision } };
}
