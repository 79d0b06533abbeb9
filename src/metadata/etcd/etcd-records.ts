import { prefixEnd } from '../key-range.ts';
import type { Entry, WatchEvent } from '../metadata-store.ts';
import type { Event, KeyValue } from './gen/etcd_pb.ts';

const DELETE = 1;
/** As a start, the smallest key; as an end, "up to the last key". */
const ZERO = Buffer.of(0);

/** The keys that start with `prefix`, in etcd's terms. */
export function toRange(prefix: string): { key: Buffer; rangeEnd: Buffer } {
  const key = Buffer.from(prefix);
  return { key: key.length === 0 ? ZERO : key, rangeEnd: prefixEnd(key) ?? ZERO };
}

export function toEntry({ key, value, modRevision }: KeyValue): Entry {
  return { key: Buffer.from(key).toString(), value, revision: modRevision };
}

export function toWatchEvent({ type, kv }: Event): WatchEvent | undefined {
  if (kv === undefined) return undefined;
  const entry = toEntry(kv);
  return type === DELETE ? { kind: 'delete', key: entry.key, revision: entry.revision } : { kind: 'put', entry };
}
