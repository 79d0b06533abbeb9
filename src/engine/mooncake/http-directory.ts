/**
 * The segments of an HTTP metadata service.
 *
 * The service has no leases: as with Mooncake's own engines, the records of a process that was killed stay. Who
 * opens such a segment finds out when it dials; who claims the name finds its data port dead and takes it over.
 */

import { CoalescedWrite } from '../../core/coalesced-write.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import type { HttpMetadataClient } from '../../metadata/http/http-metadata-client.ts';
import type { Logger } from '../../observability/logger.ts';
import { type ListedBuffer, LocalSegment, type SegmentListing } from '../local-segment.ts';
import type { Segment } from '../segment.ts';
import { decodeSegment, descriptorKey, encodeLocation, locationKey } from '../segment-descriptor.ts';
import { answers } from '../segment-directory.ts';
import type { SegmentRegistry } from '../segment-registry.ts';

export interface HttpDirectoryOptions extends SegmentListing {
  readonly client: HttpMetadataClient;
  readonly clusterId?: string | undefined;
  readonly logger: Logger;
}

export class HttpDirectory implements SegmentRegistry {
  readonly #options: HttpDirectoryOptions;
  readonly #local: LocalSegment;
  readonly #publication: CoalescedWrite = new CoalescedWrite(() => this.#write());
  #isClosed = false;

  private constructor(options: HttpDirectoryOptions) {
    const { client: _client, clusterId: _clusterId, logger: _logger, ...listing } = options;
    this.#options = options;
    this.#local = new LocalSegment(listing);
  }

  /**
   * @throws P2P_SEGMENT_IN_USE A live engine goes by that name. Two that claim it in the same moment may both get it:
   * the service cannot compare.
   * @throws P2P_METADATA_UNAVAILABLE, P2P_METADATA_DENIED
   */
  static async open(options: HttpDirectoryOptions): Promise<HttpDirectory> {
    const directory = new HttpDirectory(options);
    await directory.#claim();
    return directory;
  }

  get #descriptorKey(): string {
    return descriptorKey(this.#options.segmentName, this.#options.clusterId);
  }

  get #locationKey(): string {
    return locationKey(this.#options.segmentName, this.#options.clusterId);
  }

  async #claim(): Promise<void> {
    const { client, segmentName, host, rpcPort } = this.#options;
    if (await this.#isTaken()) {
      throw new P2PStoreError(
        ErrorCode.SegmentInUse,
        `Cannot open segment "${segmentName}": a live store, or an engine of another kind, goes by that name`,
        { segment: segmentName },
      );
    }
    await client.delete(this.#locationKey); // some services refuse to overwrite it
    await client.put(this.#locationKey, encodeLocation(host, rpcPort));
    await this.#write();
  }

  async #isTaken(): Promise<boolean> {
    const { host, dataPort } = this.#options;
    const other = await this.#lookUp(this.#options.segmentName).catch((error: unknown) => {
      if (isP2PStoreError(error, ErrorCode.RecordInvalid)) return 'another kind' as const;
      throw error;
    });
    if (other === undefined) return false;
    if (other === 'another kind') return true;
    return !(other.host === host && other.port === dataPort) && answers(other);
  }

  async #write(): Promise<void> {
    if (this.#isClosed) return;
    await this.#options.client.put(this.#descriptorKey, this.#local.encode());
  }

  add(buffer: ListedBuffer): Promise<void> {
    this.#local.add(buffer);
    return this.#publication.run();
  }

  async remove(address: number, isListed: boolean): Promise<void> {
    this.#local.remove(address);
    if (isListed) await this.#publication.run();
  }

  describe(): string {
    return this.#local.describe();
  }

  async resolve(segmentName: string, signal?: AbortSignal): Promise<Segment> {
    const segment = await this.#lookUp(segmentName, signal);
    if (segment !== undefined) return segment;
    throw new P2PStoreError(
      ErrorCode.SegmentNotFound,
      `Cannot open segment "${segmentName}": nobody goes by that name`,
      { segment: segmentName },
    );
  }

  async #lookUp(segmentName: string, signal?: AbortSignal): Promise<Segment | undefined> {
    const { client, clusterId } = this.#options;
    const [descriptor, location] = await Promise.all([
      client.get(descriptorKey(segmentName, clusterId), signal),
      client.get(locationKey(segmentName, clusterId), signal),
    ]);
    if (descriptor === undefined || location === undefined) return undefined;
    return decodeSegment(segmentName, descriptor, location);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const { client, segmentName, logger } = this.#options;
    try {
      const listed = await client.get(this.#descriptorKey);
      if (listed === undefined || !new TextDecoder().decode(listed).includes(this.#local.instance)) return;
      await client.delete(this.#descriptorKey);
      await client.delete(this.#locationKey);
    } catch (error) {
      logger.warn({ segment: segmentName, error }, 'segment records not removed');
    }
  }
}
