/** Who serves one object, as the metadata store lists it. */
import type { AddressRange } from './range-index.ts';

export interface SourceInfo {
  /** Its name in the cluster; what the engine opens. */
  readonly segment: string;
  readonly role: 'gold' | 'replica';
  /** Whether its record says that it has all pieces; a partial one tells over its peer endpoint. */
  readonly isComplete: boolean;
  /** `host:port` of its peer service; empty when it has none, as stores of another kind: it must be complete then. */
  readonly peerEndpoint: string;
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
