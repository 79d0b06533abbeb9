/** Lists the own segment in the metadata store, and finds those of others. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import type { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { Condition, Entry, MetadataStore } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import type { Segment } from './segment.ts';
import { decodeSegment, descriptorKey, encodeDescriptor, encodeLocation, locationKey } from './segment-descriptor.ts';

export interface SegmentDirectoryOptions {
  readonly metadata: MetadataStore;
  readonly leaseKeeper: LeaseKeeper;
  readonly segmentName: string;
  readonly host: string;
  readonly dataPort: number;
  /** What transports other than TCP publish, by their name. */
  readonly endpoints?: Readonly<Record<string, unknown>> | undefined;
  readonly logger: Logger;
}

interface Buffer {
  readonly address: number;
  readonly lengthBytes: number;
}

/** Mooncake refuses handshakes above 1 MiB, etcd requests above 1.5 MiB: what does not fit is served, but not listed. */
const MAX_LISTED_BUFFERS = 8192;
/** Who answers within this time is alive; a host that is gone often answers nothing. */
const PROBE_TIMEOUT_MS = 1000;
const CLAIM_ATTEMPTS = 5;

export class SegmentDirectory {
  readonly #options: SegmentDirectoryOptions;
  readonly #instance: string = randomBytes(16).toString('hex');
  readonly #buffers = new Map<number, Buffer>();
  readonly #unsubscribe: () => void;
  /** The write under way and the one that will carry all changes since. */
  #publishing: Promise<void> | undefined;
  #queued: Promise<void> | undefined;
  #isClosed = false;

  private constructor(options: SegmentDirectoryOptions) {
    this.#options = options;
    this.#unsubscribe = options.leaseKeeper.onRegained(() => this.#claim());
  }

  /** @throws P2P_SEGMENT_IN_USE A live store goes by that name. */
  static async open(options: SegmentDirectoryOptions): Promise<SegmentDirectory> {
    const directory = new SegmentDirectory(options);
    try {
      await directory.#claim();
      return directory;
    } catch (error) {
      directory.#unsubscribe();
      throw error;
    }
  }

  /**
   * Puts both records if nobody alive holds the name. A descriptor left by a process that died is
   * told from a live one by asking its data port.
   */
  async #claim(): Promise<void> {
    const { metadata, segmentName } = this.#options;
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
      const existing = await metadata.get(descriptorKey(segmentName));
      if (existing !== undefined && !(await this.#isMineOrDead(existing))) {
        throw new P2PStoreError(
          ErrorCode.SegmentInUse,
          `Cannot open segment "${segmentName}": a live store, or an engine of another kind, goes by that name`,
          { segment: segmentName },
        );
      }
      const key = descriptorKey(segmentName);
      const condition: Condition =
        existing === undefined ? { kind: 'absent', key } : { kind: 'unchanged', key, revision: existing.revision };
      if (await this.#put([condition])) return;
      await sleep(backoffMs(attempt, { firstMs: 20, maxMs: 500 }));
    }
    throw new P2PStoreError(
      ErrorCode.SegmentInUse,
      `Cannot open segment "${segmentName}": others keep claiming that name`,
      { segment: segmentName },
    );
  }

  async #put(conditions: readonly Condition[]): Promise<boolean> {
    const { metadata, leaseKeeper, segmentName, host, dataPort, endpoints } = this.#options;
    const buffers = [...this.#buffers.values()].slice(0, MAX_LISTED_BUFFERS);
    const facts = { name: segmentName, dataPort, buffers, instance: this.#instance, endpoints };
    const descriptor = encodeDescriptor(facts);
    const { succeeded } = await leaseKeeper.withLease((leaseId) =>
      metadata.commit(conditions, [
        { kind: 'put', key: descriptorKey(segmentName), value: descriptor, leaseId },
        { kind: 'put', key: locationKey(segmentName), value: encodeLocation(host), leaseId },
      ]),
    );
    return succeeded;
  }

  async #isMineOrDead(entry: Entry): Promise<boolean> {
    const { metadata, segmentName, host, dataPort } = this.#options;
    const location = await metadata.get(locationKey(segmentName));
    if (location === undefined) return true;
    try {
      const other = decodeSegment(segmentName, entry.value, location.value);
      if (other.instance === this.#instance) return true;
      // Its port is ours now, so its process is gone.
      if (other.host === host && other.port === dataPort) return true;
      return !(await answers(other));
    } catch (error) {
      // An engine of another kind, perhaps alive: it is not ours to overwrite.
      if (isP2PStoreError(error, ErrorCode.RecordInvalid)) return false;
      throw error;
    }
  }

  /** Lists a buffer; resolves when the descriptor that names it is in the metadata store. */
  add(buffer: Buffer): Promise<void> {
    this.#buffers.set(buffer.address, buffer);
    return this.#publish();
  }

  /** Takes a buffer out; resolves when the descriptor says so. */
  async remove(address: number, isListed: boolean): Promise<void> {
    this.#buffers.delete(address);
    if (isListed) await this.#publish();
  }

  /** Changes that come while a write is under way share the next one. */
  #publish(): Promise<void> {
    if (this.#publishing === undefined) {
      this.#publishing = this.#write().finally(() => {
        this.#publishing = undefined;
      });
      return this.#publishing;
    }
    this.#queued ??= this.#publishing
      .catch(() => {}) // its own callers hear of it
      .then(() => {
        this.#queued = undefined;
        return this.#publish();
      });
    return this.#queued;
  }

  async #write(): Promise<void> {
    if (this.#isClosed) return;
    await this.#put([]);
  }

  /** @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID */
  async resolve(segmentName: string, signal?: AbortSignal): Promise<Segment> {
    const { metadata } = this.#options;
    const options = signal === undefined ? {} : { signal };
    const [descriptor, location] = await Promise.all([
      metadata.get(descriptorKey(segmentName), options),
      metadata.get(locationKey(segmentName), options),
    ]);
    if (descriptor === undefined || location === undefined) {
      throw new P2PStoreError(
        ErrorCode.SegmentNotFound,
        `Cannot open segment "${segmentName}": no live store goes by that name`,
        { segment: segmentName },
      );
    }
    return decodeSegment(segmentName, descriptor.value, location.value);
  }

  /** Takes the records back, best effort: what stays hangs on the lease. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unsubscribe();
    const { metadata, segmentName, logger } = this.#options;
    try {
      const existing = await metadata.get(descriptorKey(segmentName));
      if (existing === undefined || !new TextDecoder().decode(existing.value).includes(this.#instance)) return;
      const key = descriptorKey(segmentName);
      await metadata.commit(
        [{ kind: 'unchanged', key, revision: existing.revision }],
        [
          { kind: 'delete', key },
          { kind: 'delete', key: locationKey(segmentName) },
        ],
      );
    } catch (error) {
      logger.warn({ segment: segmentName, error }, 'segment records not removed');
    }
  }
}

function answers({ host, port }: Segment): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (isAlive: boolean): void => {
      socket.destroy();
      resolve(isAlive);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => finish(false));
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}
