import { systemClock } from '../core/clock.ts';
import type { DigestPool } from '../digest/digest-pool.ts';
import type { ResolvedMemory } from '../memory/resolve-memory.ts';
import type { Logger } from '../observability/logger.ts';
import { digestGold } from '../swarm/digest-gold.ts';
import type { ObjectLayout } from '../swarm/layout.ts';
import type { PeerService } from '../swarm/peer-service.ts';
import { SharedObject } from '../swarm/shared-object.ts';
import type { MemoryRegistrations, Registration } from './memory-registrations.ts';
import { type ObjectRecord, type SourceRecord, totalSizeBytes } from './records.ts';
import { TrackedDigester } from './tracked-digester.ts';

export interface LocalObjectParts {
  readonly registrations: MemoryRegistrations;
  readonly peers: PeerService;
  readonly digestPool: DigestPool;
  readonly logger: Logger;
}

export interface LocalObjectSpec {
  readonly name: string;
  readonly role: 'gold' | 'replica';
  readonly object: ObjectRecord;
  readonly memory: ResolvedMemory;
  readonly location: string;
  /** Closed when nothing uses the memory any more: a mapping of ours. */
  readonly mapping?: AsyncDisposable | undefined;
}

/**
 * What can wait until a pull is over waits for so long, by chance: receivers that started together end together, and the last of
 * them need the processors, the links and the metadata store more.
 */
const AFTERWARDS_MS = { min: 250, spread: 750 };

export function layoutOf(name: string, object: ObjectRecord): ObjectLayout {
  const { generation, sizes, maxShardSizeBytes, pieceSizeBytes, digest } = object;
  return {
    name,
    generation,
    sizeList: sizes,
    totalSize: totalSizeBytes(sizes),
    maxShardSize: maxShardSizeBytes,
    pieceSizeBytes,
    digestAlgorithm: digest.algorithm,
    ...(digest.root === undefined ? {} : { digestRoot: digest.root }),
  };
}

/** An object whose memory this store has registered and offers to its peers: its own gold, or a replica. */
export class LocalObject {
  readonly name: string;
  readonly role: 'gold' | 'replica';
  readonly shared: SharedObject;
  /** For all digests of its memory. */
  readonly digester: TrackedDigester;
  /** What the object record says, or should say once it can be written. */
  record: ObjectRecord;
  /** What this store's source record says, or should say. */
  source: SourceRecord;
  /** Whether its records have been put. */
  isListed = false;
  /** Another object took the name: the records are no business of this one any more. */
  isSuperseded = false;
  readonly #parts: LocalObjectParts;
  readonly #spec: LocalObjectSpec;
  readonly #registration: Registration;
  readonly #stopped = new AbortController();
  #digesting: Promise<void> = Promise.resolve();
  #afterwards: (() => void)[] = [];
  #cancelAfterwards: () => void = () => {};
  #closing: Promise<void> | undefined;

  private constructor(parts: LocalObjectParts, spec: LocalObjectSpec, registration: Registration) {
    const { name, role, object, memory } = spec;
    this.name = name;
    this.role = role;
    this.#parts = parts;
    this.#spec = spec;
    this.#registration = registration;
    this.record = object;
    this.digester = new TrackedDigester(parts.digestPool);
    this.source = {
      version: 1,
      generation: object.generation,
      role,
      isComplete: role === 'gold',
      peerEndpoint: parts.peers.endpoint,
      ...(parts.peers.addresses.length > 0 && { peerAddresses: parts.peers.addresses }),
      addresses: memory.ranges.map(({ address }) => address),
      sizes: memory.ranges.map(({ lengthBytes }) => lengthBytes),
    };
    this.shared = new SharedObject({ layout: layoutOf(name, object), role, ranges: memory.ranges });
  }

  /**
   * Registers the memory and offers the object to peers that ask for it. No record says so yet.
   *
   * @throws P2P_ADDRESS_OVERLAPPED The memory is in use. Nothing stays registered; the mapping is left to the caller.
   */
  static async open(parts: LocalObjectParts, spec: LocalObjectSpec): Promise<LocalObject> {
    const isExclusive = spec.role === 'replica';
    const registration = await parts.registrations.acquire(spec.memory.ranges, {
      location: spec.location,
      isExclusive,
    });
    try {
      const local = new LocalObject(parts, spec, registration);
      parts.peers.share(local.shared);
      local.#watchMemory();
      return local;
    } catch (error) {
      await registration.release();
      throw error;
    }
  }

  /** Fires when the object is taken back: its records must not be written any more. */
  get closing(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Every byte has been received and verified. */
  complete(): void {
    this.#registration.allowSharing();
    this.source = { ...this.source, isComplete: true };
    this.completeRecord();
  }

  /** Takes the root into the record, if all digests are known. */
  completeRecord(): void {
    const root = this.shared.rootHex;
    if (root !== undefined) this.record = { ...this.record, digest: { ...this.record.digest, root } };
  }

  /** Does something soon, but not now; when the object is taken back, before that. */
  afterwards(work: () => void): void {
    this.#afterwards.push(work);
    if (this.closing.aborted) this.#catchUp();
    if (this.#afterwards.length !== 1) return;
    const waitMs = AFTERWARDS_MS.min + Math.random() * AFTERWARDS_MS.spread;
    this.#cancelAfterwards = systemClock.after(waitMs, () => this.#catchUp());
  }

  #catchUp(): void {
    this.#cancelAfterwards();
    for (const work of this.#afterwards.splice(0)) work();
  }

  /** Digests a gold source behind its registration. `onRoot` hears when the record can be completed. */
  startDigesting(onRoot: () => void): void {
    this.#digesting = digestGold(this.shared, this.digester, { signal: this.#stopped.signal }).then(
      (root) => {
        if (root === undefined) return;
        this.record = { ...this.record, digest: { ...this.record.digest, root } };
        onRoot();
      },
      (error: unknown) => {
        if (!this.#stopped.signal.aborted) this.#parts.logger.error({ name: this.name, error }, 'object not digested');
      },
    );
  }

  /**
   * Takes the object back from the peers, then from the engine. Once it resolves nobody reads or writes the memory, and a
   * mapping of ours is gone. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopped.abort();
    this.#catchUp();
    this.#parts.peers.unshare(this.name);
    await this.digester.close();
    await this.#digesting;
    await this.#registration.release();
    await this.#spec.mapping?.[Symbol.asyncDispose]();
  }

  /** What the owner of the memory did wrong is said here as well, not only to the receivers. */
  #watchMemory(): void {
    const { name, shared } = this;
    this.shared.subscribe((change) => {
      if (change.kind === 'changed') {
        this.#parts.logger.warn({ name, piece: change.piece }, 'memory was changed after it was registered');
      } else if (change.kind === 'state' && shared.state.tag === 'damaged') {
        this.#parts.logger.error({ name, reason: shared.state.reason }, 'memory of an object cannot be read any more');
      }
    });
  }
}
