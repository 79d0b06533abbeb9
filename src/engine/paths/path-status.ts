import type { PathState } from './path-health.ts';

/** One path to a peer, as {@link TransferEngine.paths} shows it. */
export interface PathStatus {
  /** Name of the peer's segment. */
  readonly peer: string;
  /** Undefined: the system chooses, as for a peer with one address. */
  readonly localCard: string | undefined;
  readonly localAddress: string | undefined;
  readonly remoteCard: string | undefined;
  /** Without brackets; a host name when the system chooses. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly state: PathState;
  /** Moved over it so far, in either direction. */
  readonly bytes: number;
  /** Asked for and not settled yet. */
  readonly inflightBytes: number;
  /** Measured of late, while it had work; 0 before the first measurement. */
  readonly bytesPerSecond: number;
  readonly faults: number;
  readonly lastFault: string | undefined;
  /** It is tried again after so many ms; 0: it is not held back. */
  readonly heldBackMs: number;
}
