/** Lists this store among those that wait for an object, and meets the others. */
import type { Entry, WatchEvent } from '../metadata/metadata-store.ts';
import { Gathering } from '../swarm/gathering.ts';
import { parseWaitingKey, waitingKey, waitingRing } from './record-keys.ts';
import { decodeWaitingRecord, encodeWaitingRecord } from './records.ts';
import { RingArc } from './ring-arc.ts';
import type { StoreParts } from './store-parts.ts';

/** Others to meet: as many as a download follows. */
const NEIGHBOURS_MAX = 64;
/** A metadata store that is away holds nobody up for longer. */
const CLOSE_MS = 1_000;

/** A store among those that wait for an object, until it is disposed of. */
export class WaitingStore implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #name: string;
  readonly #key: string;
  readonly #gathering: Gathering;
  #arc: RingArc | undefined;
  #forgetLease: () => void = () => {};

  private constructor(parts: StoreParts, name: string) {
    this.#parts = parts;
    this.#name = name;
    this.#key = waitingKey(name, parts.segmentName);
    this.#gathering = new Gathering({
      name,
      peers: parts.peerClient,
      prepare: (segment) => parts.engine.prepareSegment(segment),
      neighboursMax: NEIGHBOURS_MAX,
      random: Math.random,
    });
  }

  static async open(parts: StoreParts, name: string, signal: AbortSignal): Promise<WaitingStore> {
    const opened = new WaitingStore(parts, name);
    try {
      opened.#forgetLease = parts.leaseKeeper.onRegained(() => opened.#list());
      await opened.#list(signal);
      opened.#arc = await RingArc.open({
        metadata: parts.metadata,
        ring: waitingRing(name),
        isWhole: false,
        signal,
        onListed: (entries) => opened.#relist(entries),
        onEvents: (events) => opened.#apply(events),
      });
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** How many others wait, as far as was told; of very many only some. */
  get others(): number {
    return this.#gathering.segments.length;
  }

  /** Takes it off the list. Who pulls the object meanwhile keeps the streams that it has taken over. */
  async close(): Promise<void> {
    this.#forgetLease();
    await this.#arc?.close();
    await this.#gathering.close();
    const { metadata, logger } = this.#parts;
    try {
      const signal = AbortSignal.timeout(CLOSE_MS);
      await metadata.commit([], [{ kind: 'delete', key: this.#key }], { signal });
    } catch (error) {
      logger.warn({ name: this.#name, error }, 'listed as waiting until the lease ends');
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #list(signal?: AbortSignal): Promise<void> {
    const { metadata, leaseKeeper, peers } = this.#parts;
    const { endpoint: peerEndpoint, addresses } = peers;
    const peerAddresses = addresses.length > 0 ? addresses : undefined;
    const value = encodeWaitingRecord(this.#key, { version: 1, peerEndpoint, peerAddresses });
    await leaseKeeper.withLease(
      (leaseId) => metadata.commit([], [{ kind: 'put', key: this.#key, value, leaseId }]),
      signal && { signal },
    );
  }

  #relist(entries: readonly Entry[]): void {
    const listed = new Set(entries.map(({ key }) => parseWaitingKey(key)?.segment));
    for (const segment of this.#gathering.segments) if (!listed.has(segment)) this.#gathering.remove(segment);
    for (const entry of entries) this.#put(entry);
  }

  #apply(events: readonly WatchEvent[]): void {
    for (const event of events) {
      if (event.kind === 'put') this.#put(event.entry);
      else this.#gathering.remove(parseWaitingKey(event.key)?.segment ?? '');
    }
  }

  #put({ key, value }: Entry): void {
    const segment = parseWaitingKey(key)?.segment;
    if (segment === undefined || segment === this.#parts.segmentName) return;
    try {
      const { peerEndpoint, peerAddresses } = decodeWaitingRecord(key, value);
      this.#gathering.add({ segment, peerEndpoint, peerAddresses });
    } catch (error) {
      this.#parts.logger.warn({ key, error }, 'bad record ignored');
    }
  }
}
