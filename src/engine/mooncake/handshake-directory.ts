/**
 * Segments without a metadata store, Mooncake's `P2PHANDSHAKE`: a segment is called `host:port` after its RPC port,
 * and whoever wants its descriptor asks there.
 */

import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { hostPort } from '../../core/host-port.ts';
import { type ListedBuffer, LocalSegment, type SegmentListing } from '../local-segment.ts';
import type { Segment } from '../segment.ts';
import { decodeSegment, encodeLocation } from '../segment-descriptor.ts';
import type { SegmentRegistry } from '../segment-registry.ts';
import { askRpc, type RpcAddress } from './rpc-client.ts';
import { RpcType } from './rpc-frame.ts';

/** The metadata URI that means: none. */
export const HANDSHAKE_URI = 'P2PHANDSHAKE';

export class HandshakeDirectory implements SegmentRegistry {
  readonly #local: LocalSegment;

  /** @param listing - Its name must be {@link segmentNameOf} its host and RPC port. */
  constructor(listing: SegmentListing) {
    this.#local = new LocalSegment(listing);
  }

  async add(buffer: ListedBuffer): Promise<void> {
    this.#local.add(buffer);
  }

  async remove(address: number): Promise<void> {
    this.#local.remove(address);
  }

  describe(): string {
    return this.#local.describe();
  }

  /**
   * @throws P2P_INVALID_ARGUMENT The name is not `host:port`.
   * @throws P2P_PEER_UNREACHABLE Nobody answers there.
   * @throws P2P_SEGMENT_NOT_FOUND The engine there has no segment, or tells it to nobody.
   */
  async resolve(segmentName: string, signal?: AbortSignal): Promise<Segment> {
    const address = addressOf(segmentName);
    const answer = await askRpc(address, RpcType.Metadata, this.describe(), signal);
    if (answer === null) {
      throw new P2PStoreError(
        ErrorCode.SegmentNotFound,
        `Cannot open segment "${segmentName}": the engine there tells nothing`,
        { segment: segmentName },
      );
    }
    const descriptor = new TextEncoder().encode(JSON.stringify(answer));
    return decodeSegment(segmentName, descriptor, encodeLocation(address.host, address.port));
  }

  async close(): Promise<void> {} // nothing is written anywhere
}

/** `host:port`, with brackets around an IPv6 address. */
export function segmentNameOf(host: string, rpcPort: number): string {
  return hostPort(host, rpcPort);
}

function addressOf(segmentName: string): RpcAddress {
  const match = /^(?:\[(?<v6>[^[\]]+)\]|(?<name>[^:\s[\]/]+)):(?<port>\d{1,5})$/.exec(segmentName);
  const host = match?.groups?.['v6'] ?? match?.groups?.['name'];
  const port = Number(match?.groups?.['port']);
  if (host === undefined || !(port >= 1 && port <= 65_535)) {
    throw new P2PStoreError(
      ErrorCode.InvalidArgument,
      `Cannot open segment "${segmentName}": without a metadata store a segment is called host:port`,
      { argument: 'name' },
    );
  }
  return { host, port };
}
