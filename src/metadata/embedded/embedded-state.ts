import type { Clock } from '../../core/clock.ts';
import { leaseLost } from '../commit-check.ts';
import { prefixEnd } from '../key-range.ts';
import type { Condition, Entry, WatchEvent, Write } from '../metadata-store.ts';
import type { SynchronousState } from '../synchronous-store.ts';
import {
  decodeEntry,
  decodeEvent,
  decodeLease,
  decodeState,
  encodeEntry,
  encodeEvent,
  encodeHistoryKey,
  encodeLease,
  encodeState,
  encodeU64,
  type LeaseRecord,
  type StoreState,
} from './codec.ts';
import type { Environment } from './environment.ts';
import { hasEnded, type ProcessIdentity, readOwnIdentity } from './process-identity.ts';

/** History kept for watches: whichever bound is met first. Both fit the map beside the entries. */
export const HISTORY_EVENTS_MAX = 10_000;
const HISTORY_BYTES_MAX = 64 * 1024 * 1024;
/** For how long a look at another process is believed. Bounds the cost of readers in a loop. */
const LIVENESS_CACHE_MS = 100;

const STATE_KEY = Buffer.from('state');
const NO_BYTES = Buffer.alloc(0);

interface Liveness {
  readonly checkedAtMs: number;
  readonly ended: boolean;
}

/** The store's rules over an LMDB environment. Every method is synchronous and one transaction. */
export class EmbeddedState implements SynchronousState {
  readonly #environment: Environment;
  readonly #clock: Clock;
  readonly #self: ProcessIdentity | undefined = readOwnIdentity();
  readonly #liveness = new Map<string, Liveness>();

  constructor(environment: Environment, clock: Clock) {
    this.#environment = environment;
    this.#clock = clock;
  }

  get(key: string): Entry | undefined {
    return this.#environment.read(() => {
      const bytes = this.#environment.entries.get(Buffer.from(key));
      if (bytes === undefined) return undefined;
      const { leaseId, revision, value } = decodeEntry(bytes);
      if (leaseId !== 0n && !this.#isLeaseLive(leaseId)) return undefined;
      return { key, value, revision };
    });
  }

  list(prefix: string, limit: number = Number.POSITIVE_INFINITY): { entries: Entry[]; revision: bigint } {
    return this.#environment.read(() => {
      const ended = new Set(this.#endedLeases());
      const entries: Entry[] = [];
      for (const { key, value } of this.#environment.entries.getRange(rangeOf(Buffer.from(prefix)))) {
        if (entries.length === limit) break;
        const entry = decodeEntry(value);
        if (!ended.has(entry.leaseId))
          entries.push({ key: key.toString(), value: entry.value, revision: entry.revision });
      }
      return { entries, revision: this.#readState().revision };
    });
  }

  commit(conditions: readonly Condition[], writes: readonly Write[]): { succeeded: boolean; revision: bigint } {
    const outcome = this.#change((state) => {
      if (!conditions.every((condition) => this.#holds(condition))) return { succeeded: false, lostLeaseId: undefined };
      const lostLeaseId = writes.map(leaseOf).find((leaseId) => leaseId !== undefined && !this.#isGranted(leaseId));
      if (lostLeaseId !== undefined) return { succeeded: false, lostLeaseId };
      this.#apply(state, writes);
      return { succeeded: true, lostLeaseId: undefined };
    });
    const { lostLeaseId } = outcome.result;
    // Thrown outside the transaction: a throw within would undo the removal of ended leases as well.
    if (lostLeaseId !== undefined) throw leaseLost(lostLeaseId);
    return { succeeded: outcome.result.succeeded, revision: outcome.revision };
  }

  grantLease(ttlMs: number): string {
    return this.#change((state) => {
      state.lastLeaseId += 1n;
      const lease: LeaseRecord = {
        ttlMs,
        expiresAtMs: this.#clock.nowMs() + ttlMs,
        ...(this.#self && { owner: this.#self }),
      };
      this.#environment.leases.putSync(encodeU64(state.lastLeaseId), encodeLease(lease));
      return state.lastLeaseId.toString();
    }).result;
  }

  keepLeaseAlive(leaseId: string): number {
    return this.#change(() => {
      const key = encodeU64(BigInt(leaseId));
      const bytes = this.#environment.leases.get(key);
      if (bytes === undefined) return 0;
      const lease = decodeLease(bytes);
      this.#environment.leases.putSync(key, encodeLease({ ...lease, expiresAtMs: this.#clock.nowMs() + lease.ttlMs }));
      return lease.ttlMs;
    }).result;
  }

  revokeLease(leaseId: string): void {
    this.#change((state) => this.#endLease(state, BigInt(leaseId)));
  }

  /** Removes leases that have ended, with their keys; takes the write lock only when there are any. */
  purge(): void {
    if (this.#environment.read(() => this.#endedLeases().length > 0)) this.#change(() => {});
  }

  revision(): bigint {
    return this.#environment.read(() => this.#readState().revision);
  }

  /** Returns what happened since `fromRevision`, or undefined when part of it is no longer known. */
  eventsSince(fromRevision: bigint): { events: WatchEvent[]; revision: bigint } | undefined {
    return this.#environment.read(() => {
      const { revision, compactedRevision } = this.#readState();
      if (fromRevision <= compactedRevision) return undefined;
      const range = this.#environment.history.getRange({ start: encodeHistoryKey(fromRevision, 0) });
      const events = [...range].map(({ key, value }) => decodeEvent(key.readBigUInt64BE(), value));
      return { events, revision };
    });
  }

  /** Forgets the history, as a compaction of etcd does. */
  compact(): void {
    this.#change((state) => this.#trimHistory(state, 0n, 0n));
  }

  #change<T>(work: (state: StoreState) => T): { result: T; revision: bigint } {
    return this.#environment.write(() => {
      const before = this.#environment.state.get(STATE_KEY);
      const state = decodeState(before);
      for (const leaseId of this.#endedLeases()) this.#endLease(state, leaseId);
      const result = work(state);
      const after = encodeState(state);
      if (before === undefined || !after.equals(before)) this.#environment.state.putSync(STATE_KEY, after);
      return { result, revision: state.revision };
    });
  }

  #readState(): StoreState {
    return decodeState(this.#environment.state.get(STATE_KEY));
  }

  #holds(condition: Condition): boolean {
    const { entries } = this.#environment;
    switch (condition.kind) {
      case 'unchanged': {
        const bytes = entries.get(Buffer.from(condition.key));
        return bytes !== undefined && decodeEntry(bytes).revision === condition.revision;
      }
      case 'absent':
        return entries.get(Buffer.from(condition.key)) === undefined;
      case 'prefix-empty':
        return [...entries.getKeys({ ...rangeOf(Buffer.from(condition.prefix)), limit: 1 })].length === 0;
    }
  }

  #apply(state: StoreState, writes: readonly Write[]): void {
    const revision = state.revision + 1n;
    let index = 0;
    for (const write of writes) {
      const event = this.#applyOne(revision, write);
      if (event === undefined) continue;
      const bytes = encodeEvent(event);
      this.#environment.history.putSync(encodeHistoryKey(revision, index), bytes);
      state.historyEvents += 1n;
      state.historyBytes += BigInt(bytes.length);
      index += 1;
    }
    if (index > 0) state.revision = revision;
    this.#trimHistory(state, BigInt(HISTORY_EVENTS_MAX), BigInt(HISTORY_BYTES_MAX));
  }

  /** Returns undefined when there was nothing to delete. */
  #applyOne(revision: bigint, write: Write): WatchEvent | undefined {
    const { entries, leaseKeys } = this.#environment;
    const key = Buffer.from(write.key);
    const before = entries.get(key);
    const oldLeaseId = before === undefined ? 0n : decodeEntry(before).leaseId;
    if (oldLeaseId !== 0n) leaseKeys.removeSync(Buffer.concat([encodeU64(oldLeaseId), key]));
    if (write.kind === 'delete') {
      if (before === undefined) return undefined;
      entries.removeSync(key);
      return { kind: 'delete', key: write.key, revision };
    }
    const leaseId = BigInt(write.leaseId ?? 0);
    entries.putSync(key, encodeEntry({ revision, leaseId, value: write.value }));
    if (leaseId !== 0n) leaseKeys.putSync(Buffer.concat([encodeU64(leaseId), key]), NO_BYTES);
    return { kind: 'put', entry: { key: write.key, value: write.value, revision } };
  }

  /** Drops whole commits, oldest first, until both bounds hold. */
  #trimHistory(state: StoreState, eventsMax: bigint, bytesMax: bigint): void {
    const { history } = this.#environment;
    while (state.historyEvents > eventsMax || state.historyBytes > bytesMax) {
      const first = [...history.getKeys({ limit: 1 })][0];
      if (first === undefined) break;
      const revision = first.readBigUInt64BE();
      for (const { key, value } of [...history.getRange({ end: encodeHistoryKey(revision + 1n, 0) })]) {
        history.removeSync(key);
        state.historyEvents -= 1n;
        state.historyBytes -= BigInt(value.length);
      }
      state.compactedRevision = revision;
    }
  }

  #endLease(state: StoreState, leaseId: bigint): void {
    const { leases, leaseKeys } = this.#environment;
    if (leases.get(encodeU64(leaseId)) === undefined) return;
    leases.removeSync(encodeU64(leaseId));
    const keys = [...leaseKeys.getKeys(rangeOf(encodeU64(leaseId)))];
    this.#apply(
      state,
      keys.map((key) => ({ kind: 'delete', key: key.toString('utf8', 8) })),
    );
  }

  #isGranted(leaseId: string): boolean {
    return this.#environment.leases.get(encodeU64(BigInt(leaseId))) !== undefined;
  }

  #endedLeases(): bigint[] {
    const nowMs = this.#clock.nowMs();
    const ended: bigint[] = [];
    for (const { key, value } of this.#environment.leases.getRange()) {
      if (this.#hasLeaseEnded(decodeLease(value), nowMs)) ended.push(key.readBigUInt64BE());
    }
    return ended;
  }

  #isLeaseLive(leaseId: bigint): boolean {
    const bytes = this.#environment.leases.get(encodeU64(leaseId));
    return bytes !== undefined && !this.#hasLeaseEnded(decodeLease(bytes), this.#clock.nowMs());
  }

  #hasLeaseEnded(lease: LeaseRecord, nowMs: number): boolean {
    if (lease.expiresAtMs <= nowMs) return true;
    if (lease.expiresAtMs - lease.ttlMs > nowMs) return true; // granted in the future: before the clock restarted
    return lease.owner !== undefined && this.#self !== undefined && this.#hasOwnerEnded(lease.owner, this.#self);
  }

  #hasOwnerEnded(owner: ProcessIdentity, self: ProcessIdentity): boolean {
    const cacheKey = `${owner.pid} ${owner.startTicks} ${owner.pidNamespace}`;
    const nowMs = performance.now();
    const known = this.#liveness.get(cacheKey);
    if (known !== undefined && nowMs - known.checkedAtMs < LIVENESS_CACHE_MS) return known.ended;
    if (this.#liveness.size > 1000) this.#liveness.clear();
    const ended = hasEnded(owner, self);
    this.#liveness.set(cacheKey, { checkedAtMs: nowMs, ended });
    return ended;
  }
}

function rangeOf(prefix: Buffer): { start?: Buffer; end?: Buffer } {
  const end = prefixEnd(prefix);
  return { ...(prefix.length > 0 && { start: prefix }), ...(end !== undefined && { end }) };
}

function leaseOf(write: Write): string | undefined {
  return write.kind === 'put' ? write.leaseId : undefined;
}
