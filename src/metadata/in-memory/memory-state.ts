import type { Clock } from '../../core/clock.ts';
import { leaseLost } from '../commit-check.ts';
import { compareKeys } from '../key-range.ts';
import type { Condition, Entry, WatchEvent, Write } from '../metadata-store.ts';
import type { SynchronousState } from '../synchronous-store.ts';

/** Events kept for watches that start in the past. Bounds memory; a later start gets `onReset`. */
export const HISTORY_EVENTS_MAX = 10_000;

interface StoredEntry extends Entry {
  readonly leaseId: string | undefined;
}

interface Lease {
  readonly ttlMs: number;
  expiresAtMs: number;
  readonly keys: Set<string>;
}

interface LoggedEvent {
  readonly revision: bigint;
  readonly event: WatchEvent;
}

/** The data behind one `memory:` URI, shared by every open store of that URI in this process. */
export class MemoryState implements SynchronousState {
  readonly #clock: Clock;
  readonly #entries = new Map<string, StoredEntry>();
  readonly #leases = new Map<string, Lease>();
  readonly #listeners = new Set<() => void>();
  #history: LoggedEvent[] = [];
  #revision = 1n;
  #compactedRevision = 0n;
  #lastLeaseId = 0n;
  #cancelTimer: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string): Entry | undefined {
    this.#expireLeases();
    const stored = this.#entries.get(key);
    return stored && copyEntry(stored);
  }

  list(prefix: string, limit?: number): { entries: Entry[]; revision: bigint } {
    this.#expireLeases();
    const found = [...this.#entries.values()].filter((entry) => entry.key.startsWith(prefix));
    found.sort((left, right) => compareKeys(left.key, right.key));
    return { entries: found.slice(0, limit).map(copyEntry), revision: this.#revision };
  }

  commit(conditions: readonly Condition[], writes: readonly Write[]): { succeeded: boolean; revision: bigint } {
    this.#expireLeases();
    if (!conditions.every((condition) => this.#holds(condition))) return { succeeded: false, revision: this.#revision };
    for (const write of writes) {
      if (write.kind === 'put' && write.leaseId !== undefined && !this.#leases.has(write.leaseId)) {
        throw leaseLost(write.leaseId);
      }
    }
    this.#apply(writes);
    return { succeeded: true, revision: this.#revision };
  }

  grantLease(ttlMs: number): string {
    this.#expireLeases();
    this.#lastLeaseId += 1n;
    const leaseId = this.#lastLeaseId.toString();
    this.#leases.set(leaseId, { ttlMs, expiresAtMs: this.#clock.nowMs() + ttlMs, keys: new Set() });
    this.#scheduleExpiry();
    return leaseId;
  }

  keepLeaseAlive(leaseId: string): number {
    this.#expireLeases();
    const lease = this.#leases.get(leaseId);
    if (lease === undefined) return 0;
    lease.expiresAtMs = this.#clock.nowMs() + lease.ttlMs;
    this.#scheduleExpiry();
    return lease.ttlMs;
  }

  revokeLease(leaseId: string): void {
    this.#expireLeases();
    this.#endLease(leaseId);
    this.#scheduleExpiry();
  }

  /** Returns what happened since `fromRevision`, or undefined when part of it is no longer known. */
  eventsSince(fromRevision: bigint): { events: WatchEvent[]; revision: bigint } | undefined {
    this.#expireLeases();
    if (fromRevision <= this.#compactedRevision) return undefined;
    const events: WatchEvent[] = [];
    for (let index = this.#history.length - 1; index >= 0; index -= 1) {
      const logged = this.#history[index];
      if (logged === undefined || logged.revision < fromRevision) break;
      events.push(copyEvent(logged.event));
    }
    return { events: events.reverse(), revision: this.#revision };
  }

  /** Calls `listener` after each change, in the same turn. Returns its removal. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#scheduleExpiry();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#cancelTimer();
    };
  }

  /** Forgets the history, as a compaction of etcd does. */
  compact(): void {
    this.#history = [];
    this.#compactedRevision = this.#revision;
  }

  #holds(condition: Condition): boolean {
    switch (condition.kind) {
      case 'unchanged':
        return this.#entries.get(condition.key)?.revision === condition.revision;
      case 'absent':
        return !this.#entries.has(condition.key);
      case 'prefix-empty':
        return ![...this.#entries.keys()].some((key) => key.startsWith(condition.prefix));
    }
  }

  #apply(writes: readonly Write[]): void {
    const effective = writes.filter((write) => write.kind === 'put' || this.#entries.has(write.key));
    if (effective.length === 0) return;
    this.#revision += 1n;
    const revision = this.#revision;
    for (const write of effective) {
      const { key } = write;
      this.#leases.get(this.#entries.get(key)?.leaseId ?? '')?.keys.delete(key);
      if (write.kind === 'delete') {
        this.#entries.delete(key);
        this.#history.push({ revision, event: { kind: 'delete', key, revision } });
        continue;
      }
      const entry = { key, value: new Uint8Array(write.value), revision, leaseId: write.leaseId };
      this.#entries.set(key, entry);
      if (write.leaseId !== undefined) this.#leases.get(write.leaseId)?.keys.add(key);
      this.#history.push({ revision, event: { kind: 'put', entry } });
    }
    this.#trimHistory();
    for (const listener of this.#listeners) listener();
  }

  #trimHistory(): void {
    if (this.#history.length < 2 * HISTORY_EVENTS_MAX) return; // amortises the copy
    const cut = this.#history[this.#history.length - HISTORY_EVENTS_MAX];
    if (cut === undefined) return;
    this.#compactedRevision = cut.revision; // drops a commit whole: never a part of one
    this.#history = this.#history.filter(({ revision }) => revision > cut.revision);
  }

  #endLease(leaseId: string): void {
    const lease = this.#leases.get(leaseId);
    if (lease === undefined) return;
    this.#leases.delete(leaseId);
    this.#apply([...lease.keys].map((key) => ({ kind: 'delete', key })));
  }

  #expireLeases(): void {
    const nowMs = this.#clock.nowMs();
    const ended = [...this.#leases].filter(([, lease]) => lease.expiresAtMs <= nowMs);
    for (const [leaseId] of ended) this.#endLease(leaseId);
  }

  /** Only watches need a timer: every other reader expires leases as it comes. */
  #scheduleExpiry(): void {
    this.#cancelTimer();
    if (this.#listeners.size === 0 || this.#leases.size === 0) return;
    const nextMs = Math.min(...[...this.#leases.values()].map((lease) => lease.expiresAtMs));
    this.#cancelTimer = this.#clock.after(Math.max(0, Math.ceil(nextMs - this.#clock.nowMs())), () => {
      this.#expireLeases();
      this.#scheduleExpiry();
    });
  }
}

function copyEntry({ key, value, revision }: Entry): Entry {
  return { key, value: new Uint8Array(value), revision };
}

function copyEvent(event: WatchEvent): WatchEvent {
  return event.kind === 'put' ? { kind: 'put', entry: copyEntry(event.entry) } : event;
}
