/** Lists the own segment in the metadata store, and finds those of others. */
import { connect } from 'node:net';
import { sleep } from '../core/abort.ts';
import { backoffMs } from '../core/backoff.ts';
import { CoalescedWrite } from '../core/coalesced-write.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import type { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { Condition, Entry, MetadataStore } from '../metadata/metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import { type ListedBuffer, LocalSegment, type SegmentListing } from './local-segment.ts';
import type { Segment } from './segment.ts';
import { decodeSegment, descriptorKey, encodeLocation, locationKey } from './segment-descriptor.ts';
import type { SegmentRegistry } from './segment-registry.ts';

export interface SegmentDirectoryOptions extends SegmentListing {
  readonly metadata: MetadataStore;
  readonly leaseKeeper: LeaseKeeper;
  /** Keeps clusters apart that share the metadata store, as Mooncake's MC_METADATA_CLUSTER_ID. */
  readonly clusterId?: string | undefined;
  readonly logger: Logger;
}

/** Who answers within this time is alive; a host that is gone often answers nothing. */
const PROBE_TIMEOUT_MS = 1000;
const CLAIM_ATTEMPTS = 5;

/** The segments of a metadata store. The own records hang on the lease. */
export class SegmentDirectory implements SegmentRegistry {
  readonly #options: SegmentDirectoryOptions;
  readonly #local: LocalSegment;
  readonly #publication: CoalescedWrite = new CoalescedWrite(() => this.#write());
  readonly #unsubscribe: () => void;
  readonly #descriptorKey: string;
  readonly #locationKey: string;
  #isClosed = false;

  private constructor(options: SegmentDirectoryOptions) {
    const { metadata: _metadata, leaseKeeper, clusterId, logger: _logger, ...listing } = options;
    this.#options = options;
    this.#local = new LocalSegment(listing);
    this.#descriptorKey = descriptorKey(options.segmentName, clusterId);
    this.#locationKey = locationKey(options.segmentName, clusterId);
    this.#unsubscribe = leaseKeeper.onRegained(() => this.#claim());
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
      const key = this.#descriptorKey;
      const existing = await metadata.get(key);
      if (existing !== undefined && !(await this.#isMineOrDead(existing))) {
        throw new P2PStoreError(
          ErrorCode.SegmentInUse,
          `Cannot open segment "${segmentName}": a live store, or an engine of another kind, goes by that name`,
          { segment: segmentName },
        );
      }
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
    const { metadata, leaseKeeper, host, rpcPort } = this.#options;
    const descriptor = this.#local.encode();
    const { succeeded } = await leaseKeeper.withLease((leaseId) =>
      metadata.commit(conditions, [
        { kind: 'put', key: this.#descriptorKey, value: descriptor, leaseId },
        { kind: 'put', key: this.#locationKey, value: encodeLocation(host, rpcPort), leaseId },
      ]),
    );
    return succeeded;
  }

  describe(): string {
    return this.#local.describe();
  }

  async #isMineOrDead(entry: Entry): Promise<boolean> {
    const { metadata, segmentName, host, dataPort } = this.#options;
    const location = await metadata.get(this.#locationKey);
    if (location === undefined) return true;
    try {
      const other = decodeSegment(segmentName, entry.value, location.value);
      if (other.instance === this.#local.instance) return true;
      // Its port is ours now, so its process is gone.
      if (other.host === host && other.port === dataPort) return true;
      if (other.port === 0) return false; // an engine of RDMA alone, perhaps alive
      return !(await answers(other));
    } catch (error) {
      // An engine of another kind, perhaps alive: it is not ours to overwrite.
      if (isP2PStoreError(error, ErrorCode.RecordInvalid)) return false;
      throw error;
    }
  }

  add(buffer: ListedBuffer): Promise<void> {
    this.#local.add(buffer);
    return this.#publication.run();
  }

  async remove(address: number, isListed: boolean): Promise<void> {
    this.#local.remove(address);
    if (isListed) await this.#publication.run();
  }

  async #write(): Promise<void> {
    if (this.#isClosed) return;
    await this.#put([]);
  }

  /** @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID */
  async resolve(segmentName: string, signal?: AbortSignal): Promise<Segment> {
    const { metadata, clusterId } = this.#options;
    const options = signal === undefined ? {} : { signal };
    const [descriptor, location] = await Promise.all([
      metadata.get(descriptorKey(segmentName, clusterId), options),
      metadata.get(locationKey(segmentName, clusterId), options),
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
      const key = this.#descriptorKey;
      const existing = await metadata.get(key);
      if (existing === undefined || !new TextDecoder().decode(existing.value).includes(this.#local.instance)) return;
      await metadata.commit(
        [{ kind: 'unchanged', key, revision: existing.revision }],
        [
          { kind: 'delete', key },
          { kind: 'delete', key: this.#locationKey },
        ],
      );
    } catch (error) {
      logger.warn({ segment: segmentName, error }, 'segment records not removed');
    }
  }
}

/** Whether a data port takes connections. Answers within a second. */
export function answers({ host, port }: Segment): Promise<boolean> {
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
