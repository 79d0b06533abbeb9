/** Who serves one object, as the metadata store lists it. */
import type { AddressRange } from './range-index.ts';

/** Other addresses of one store that are told, and believed: enough for its cards, and few enough for a record. */
export const PEER_ADDRESSES_MAX = 8;

/** Where the peer service of a store answers. */
export interface PeerPlace {
  /** Its name in the cluster; what the engine opens. */
  readonly segment: string;
  /** `host:port` of its peer service; empty when it has none, as stores of another kind. */
  readonly peerEndpoint: string;
  /** Other numeric addresses at which it answers, on the same port: those of its other network cards. */
  readonly peerAddresses?: readonly string[] | undefined;
}

/** A source without a peer service must be complete. */
export interface SourceInfo extends PeerPlace {
  readonly role: 'gold' | 'replica';
  /** Whether its record says that it has all pieces; a partial one tells over its peer endpoint. */
  readonly isComplete: boolean;
  /** Where its bytes lie, in logical order. */
  readonly ranges: readonly AddressRange[];
  readonly generation: string;
}

/** A live list of the sources of one object. Never lists the store that reads it. */
export interface SourceFeed {
  current(): readonly SourceInfo[];
  /** Calls `listener` after each change of {@link current}. @returns Ends it. */
  onChange(listener: () => void): () => void;
}
