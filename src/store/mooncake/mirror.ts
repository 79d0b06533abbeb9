/**
 * Lists objects of this store where Mooncake's Go stores look for them, and keeps that so while others write to the same records.
 *
 * A record belongs to all who are named in it. This store only adds and takes out its own locations, by compare-and-swap as they
 * do, and those that nobody can use. The record hangs on this store's lease while this store is the only one in it; with others in
 * it, it hangs on none, because it must not vanish with one of them. Then the stores of ours that are left take out who died, and
 * the last one takes the record back onto its lease.
 *
 * All of it is best effort and behind the calls of the store: nothing here makes one fail.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { abortable, sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import type { LeaseKeeper } from '../../metadata/lease-keeper.ts';
import type { Condition, Entry, MetadataStore, Write } from '../../metadata/metadata-store.ts';
import type { Logger } from '../../observability/logger.ts';
import { inLanes } from '../lanes.ts';
import type { LocalObject } from '../local-object.ts';
import type { ObjectReader } from '../object-reader.ts';
import type { ObjectRecord } from '../records.ts';
import { findPeers } from './find-peers.ts';
import { isEmpty, type Merge, mergeMirror, type Standing, withoutSegment } from './mirror-merge.ts';
import { MirrorQueue } from './mirror-queue.ts';
import { countShards, isSameObject, objectOfPayload, payloadOfObject, segmentsOf } from './payload-object.ts';
import { decodePayload, encodePayload, type Payload, payloadKey } from './payload-record.ts';
import type { SegmentKind, SegmentKinds } from './segment-kinds.ts';

/** Below what etcd takes in a request, so that Mooncake stores can still add themselves; a replica leaves more room for them. */
const RECORD_MAX_BYTES = { gold: 1_300_000, replica: 1_000_000 };
/** More do not fit into a record: each names its segment and its address. */
const SHARDS_MAX = 20_000;
/** Segments whose descriptors are looked up for one record. */
const SEGMENTS_MAX = 64;
/** Only other writers of the same record make an attempt fail. */
const ATTEMPTS_MAX = 12;
const RETRY = { firstMs: 10, maxMs: 500 };
/** Calls wait so long for the record of what they took back. */
const SETTLED_MS = 1_000;
const CLOSE_MS = 2_000;
const LOOKS_AT_ONCE = 8;

export type MirroredObject = Pick<LocalObject, 'name' | 'role' | 'record' | 'shared' | 'closing' | 'isSuperseded'>;

export interface MirrorOptions {
  readonly metadata: MetadataStore;
  readonly reader: Pick<ObjectReader, 'readSources'>;
  readonly segments: SegmentKinds;
  readonly leaseKeeper: Pick<LeaseKeeper, 'withLease' | 'leaseId' | 'onRegained'>;
  readonly segmentName: string;
  readonly logger: Logger;
  readonly clock?: Clock | undefined;
  /** From one look at the records to the next, in ms. Default 10,000, as a lease. */
  readonly periodMs?: number;
}

interface Wanted {
  readonly local: MirroredObject;
  readonly addresses: readonly bigint[];
  /** Until the first write. */
  isForced: boolean;
}

/** What was seen of a record, and done to it. */
interface Known {
  /** 0: look again. Undefined: there was none. */
  revision: bigint | undefined;
  /** On which lease this store put it. */
  leaseId: string | undefined;
  /** Others in it, when they had a descriptor. */
  segments: readonly string[];
  wasMirrored: boolean;
  why: string | undefined;
}

export class MooncakeMirror implements AsyncDisposable {
  readonly #options: MirrorOptions;
  readonly #clock: Clock;
  readonly #queue: MirrorQueue;
  readonly #wanted = new Map<string, Wanted>();
  readonly #known = new Map<string, Known>();
  readonly #closed = new AbortController();
  readonly #unsubscribe: () => void;
  #cancelTick: () => void;
  #look: Promise<void> = Promise.resolve();

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#queue = new MirrorQueue((name) => this.#reconcile(name), this.#clock);
    // Our own records are put on the new lease first, by listeners behind this one.
    this.#unsubscribe = options.leaseKeeper.onRegained(() => {
      for (const name of this.#wanted.keys()) this.#clock.after(1_000, () => this.#queue.mark(name));
      return Promise.resolve();
    });
    this.#cancelTick = this.#schedule();
  }

  /**
   * Lists a complete object, soon, until it is taken back.
   *
   * @param options.force - Also over what a Mooncake store registered under the name.
   */
  add(local: MirroredObject, { force = false }: { readonly force?: boolean } = {}): void {
    const { name, record } = local;
    const shards = countShards(record);
    if (shards === 0 || local.closing.aborted) return; // a record without shards is none to them
    if (shards > SHARDS_MAX) {
      this.#options.logger.info({ name, shards }, 'not mirrored for Mooncake: it has too many shards');
      return;
    }
    const shape = payloadOfObject(name, record);
    const addresses = addressesOf(local, shape);
    if (addresses === undefined) {
      this.#options.logger.debug({ name }, 'not mirrored for Mooncake: its memory is not split as its shards');
      return;
    }
    this.#wanted.set(name, { local, addresses, isForced: force });
    local.closing.addEventListener('abort', () => this.#remove(local), { once: true });
    this.#queue.mark(name);
  }

  /** Resolves when the record of a name is as it should be, or cannot be written now, or after a second. */
  async settled(name: string): Promise<void> {
    await abortable(this.#queue.settled(name), AbortSignal.timeout(SETTLED_MS)).catch(() => {});
  }

  /** Finishes what was taken back, within 2 s. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#cancelTick();
    const timer = new AbortController();
    await Promise.race([this.#queue.drained(), delay(CLOSE_MS, undefined, { signal: timer.signal })]);
    timer.abort();
    this.#closed.abort(
      new P2PStoreError(ErrorCode.Closed, 'Cannot mirror: the store is closed', { resource: 'mirror' }),
    );
    await this.#queue.close();
    await this.#look;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #remove(local: MirroredObject): void {
    if (this.#wanted.get(local.name)?.local !== local) return;
    this.#wanted.delete(local.name);
    this.#queue.mark(local.name);
  }

  async #reconcile(name: string): Promise<void> {
    const { signal } = this.#closed;
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        if (await this.#tryReconcile(name, signal)) return;
        await sleep(backoffMs(attempt, RETRY), signal);
      }
      throw new Error('others kept changing the record');
    } catch (error) {
      if (!signal.aborted) this.#options.logger.warn({ name, error }, 'Mooncake record not written yet');
      throw error;
    }
  }

  /** @returns false when somebody else wrote the record in between. */
  async #tryReconcile(name: string, signal: AbortSignal): Promise<boolean> {
    const wanted = this.#wanted.get(name);
    const known = this.#known.get(name);
    if (wanted === undefined && known?.wasMirrored !== true) {
      this.#known.delete(name);
      return true; // nothing of it is there
    }
    const entry = await this.#options.metadata.get(payloadKey(name), { signal });
    const current = this.#decode(entry);
    if (wanted === undefined || wanted.local.isSuperseded) return await this.#takeOut(name, entry, current);
    const { merge, others } = current === 'bad' ? BAD : await this.#merge(wanted, current, signal);
    const seen = { ...noted(known), revision: entry?.revision, segments: others };
    if (merge.kind === 'leave') {
      this.#leave(name, merge.why, seen);
      return true;
    }
    return await this.#put(wanted, merge, entry, seen);
  }

  async #merge(
    { local, addresses, isForced }: Wanted,
    current: Payload | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly merge: Merge; readonly others: readonly string[] }> {
    const { segments, segmentName } = this.#options;
    const { name, role, record } = local;
    const others = current === undefined ? [] : segmentsOf(current).filter((segment) => segment !== segmentName);
    if (others.length > SEGMENTS_MAX) return { merge: { kind: 'leave', why: 'it names too many stores' }, others: [] };
    const isTheirs = record.origin === 'mooncake';
    if (isTheirs && current !== undefined && !isStillThat(name, current, record)) {
      return { merge: { kind: 'leave', why: 'another object took the name' }, others };
    }
    const kinds = await segments.describe(others, { signal });
    const asked = [segmentName, ...others.filter((segment) => kinds.get(segment)?.kind === 'ours')];
    const peers = await findPeers(this.#options, { name, generation: record.generation }, asked, { signal });
    if (!peers.has(segmentName)) return { merge: { kind: 'leave', why: NOT_LISTED }, others };
    const merge = mergeMirror({
      current,
      shape: payloadOfObject(name, record),
      own: { segment: segmentName, role, addresses },
      standingOf: (segment) => standingOf(kinds.get(segment), peers.has(segment)),
      isTheirs,
      mayReplace: isForced,
      wasMirrored: this.#known.get(name)?.wasMirrored === true,
    });
    return { merge, others: others.filter((segment) => kinds.get(segment)?.kind !== 'gone') };
  }

  async #put(
    wanted: Wanted,
    { payload, isAlone }: Extract<Merge, { kind: 'write' }>,
    entry: Entry | undefined,
    seen: Known,
  ): Promise<boolean> {
    const { leaseKeeper } = this.#options;
    const { name, role } = wanted.local;
    const key = payloadKey(name);
    const value = encodePayload(payload);
    if (value.length > RECORD_MAX_BYTES[role]) {
      this.#leave(name, `the record would have ${value.length} bytes`, seen);
      return true;
    }
    const known = this.#known.get(name);
    const hasLease = !isAlone || (known?.leaseId === leaseKeeper.leaseId && known.revision === entry?.revision);
    if (hasLease && entry !== undefined && value.equals(entry.value)) {
      this.#known.set(name, { ...seen, wasMirrored: true, why: undefined });
      return true;
    }
    this.#known.set(name, { ...seen, revision: 0n, wasMirrored: true }); // an answer may be lost
    let leaseId: string | undefined;
    const commit = async (lease?: string): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> => {
      leaseId = lease;
      const put: Write = { kind: 'put', key, value, ...(lease !== undefined && { leaseId: lease }) };
      return await this.#options.metadata.commit([isAsRead(key, entry)], [put]);
    };
    const { succeeded, revision } = isAlone ? await leaseKeeper.withLease(commit) : await commit();
    if (!succeeded) {
      this.#known.set(name, seen);
      return false;
    }
    wanted.isForced = false;
    this.#known.set(name, { ...seen, revision, leaseId, wasMirrored: true, why: undefined });
    return true;
  }

  /** Removes the own locations, and the record with the last one of all. */
  async #takeOut(name: string, entry: Entry | undefined, current: Payload | undefined | 'bad'): Promise<boolean> {
    const left =
      current === undefined || current === 'bad' ? undefined : withoutSegment(current, this.#options.segmentName);
    if (entry !== undefined && left !== undefined) {
      const { key } = entry;
      const write: Write = isEmpty(left) ? { kind: 'delete', key } : { kind: 'put', key, value: encodePayload(left) };
      if (!(await this.#options.metadata.commit([isAsRead(key, entry)], [write])).succeeded) return false;
    }
    this.#known.delete(name);
    return true;
  }

  #leave(name: string, why: string, seen: Known): void {
    const isNews = this.#known.get(name)?.why !== why;
    this.#known.set(name, { ...seen, why, ...(why === NOT_LISTED && { revision: 0n }) });
    if (isNews) this.#options.logger.info({ name, why }, 'not mirrored for Mooncake');
  }

  #decode(entry: Entry | undefined): Payload | undefined | 'bad' {
    if (entry === undefined) return undefined;
    try {
      return decodePayload(entry.key, entry.value);
    } catch (error) {
      if (isP2PStoreError(error, ErrorCode.RecordInvalid)) return 'bad';
      throw error;
    }
  }

  #schedule(): () => void {
    const { periodMs = 10_000 } = this.#options;
    return this.#clock.after(periodMs * (0.8 + 0.4 * Math.random()), () => {
      this.#look = this.#lookAtAll()
        .catch((error: unknown) => this.#options.logger.debug({ error }, 'Mooncake records not looked at'))
        .finally(() => {
          if (!this.#closed.signal.aborted) this.#cancelTick = this.#schedule();
        });
    });
  }

  /** Marks what somebody else has changed, and what names a store that is gone. Costs a comparison a record. */
  async #lookAtAll(): Promise<void> {
    const { metadata, segments } = this.#options;
    const { signal } = this.#closed;
    const names = [...this.#wanted.keys()];
    const isMixed = names.some((name) => (this.#known.get(name)?.segments.length ?? 0) > 0);
    const isListed = isMixed ? await segments.listed({ signal }) : (): boolean => true;
    await inLanes(names, LOOKS_AT_ONCE, async (name) => {
      const known = this.#known.get(name);
      if (signal.aborted || known === undefined) return;
      const key = payloadKey(name);
      const condition: Condition =
        known.revision === undefined ? { kind: 'absent', key } : { kind: 'unchanged', key, revision: known.revision };
      const isAsKnown =
        known.segments.every(isListed) && (await metadata.commit([condition], [], { signal })).succeeded;
      if (!isAsKnown) this.#queue.mark(name);
    });
  }
}

const NOT_LISTED = 'this store is not listed as its source';
const BAD = { merge: { kind: 'leave', why: 'there is a record that does not read' }, others: [] } as const;

function noted(known: Known | undefined): Known {
  return known ?? { revision: undefined, leaseId: undefined, segments: [], wasMirrored: false, why: undefined };
}

function isAsRead(key: string, entry: Entry | undefined): Condition {
  return entry === undefined ? { kind: 'absent', key } : { kind: 'unchanged', key, revision: entry.revision };
}

function isStillThat(name: string, current: Payload, record: ObjectRecord): boolean {
  try {
    return isSameObject(current, objectOfPayload(name, current), record);
  } catch (error) {
    if (isP2PStoreError(error, ErrorCode.RecordInvalid)) return false;
    throw error;
  }
}

function standingOf(kind: SegmentKind | undefined, isPeer: boolean): Standing {
  if (kind === undefined || kind.kind === 'gone') return 'gone';
  if (kind.kind === 'theirs') return 'stranger';
  return isPeer ? 'peer' : 'stale';
}

/** Where each shard lies; undefined when one lies in several ranges of memory. */
function addressesOf({ shared }: MirroredObject, shape: Payload): bigint[] | undefined {
  const addresses: bigint[] = [];
  let offset = 0;
  for (const { sizeBytes } of shape.shards) {
    const lengthBytes = Number(sizeBytes);
    const [range, second] = shared.memory.slice(offset, lengthBytes);
    if (range === undefined || second !== undefined) return undefined;
    addresses.push(BigInt(range.address));
    offset += lengthBytes;
  }
  return addresses;
}
