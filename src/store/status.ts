/** Who has an object, and how far they are. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { State } from '../swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { inLanes } from './lanes.ts';
import { type PayloadInfo, payloadInfo } from './payload-info.ts';
import type { StoreParts } from './store-parts.ts';

/** One store that serves an object, as the metadata store lists it. */
export interface SourceListing {
  /** Its `localSegmentName`. */
  readonly segment: string;
  /** `gold` registered the object, a `replica` pulled it. */
  readonly role: 'gold' | 'replica';
  readonly isComplete: boolean;
  /** `host:port` that answers for it. */
  readonly peerEndpoint: string;
}

/** One source as it says itself. */
export interface SourceStatus extends SourceListing {
  /** `unreachable`: it did not answer; the numbers are 0 then. `damaged`: its memory cannot be read any more. */
  readonly state: 'serving' | 'damaged' | 'unreachable';
  /** Pieces that it has and has verified. */
  readonly verifiedPieces: number;
  readonly pieces: number;
  /** Peers that follow what it has. */
  readonly followers: number;
  /** Speed of its own pull, in bytes per second. */
  readonly bytesPerSecond: number;
  /** Where its own pull takes the bytes from. */
  readonly sources: readonly { readonly segment: string; readonly bytes: number; readonly bytesPerSecond: number }[];
}

export interface ObjectStatus extends PayloadInfo {
  /** By what receivers verify it. */
  readonly verify: 'xxh64' | 'blake3' | 'none';
  /** Gold first, then by segment name. */
  readonly sources: readonly SourceStatus[];
}

const ASKED_AT_ONCE = 16;
const ANSWER_TIMEOUT_MS = 2_000;

type Reader = Pick<StoreParts, 'reader' | 'peerClient'>;

export async function readSources(parts: Reader, name: string, signal: AbortSignal): Promise<SourceListing[]> {
  const found = await parts.reader.find(name, { signal });
  const listings = (found?.sources ?? []).map(({ segment, source: { role, isComplete, peerEndpoint } }) => ({
    segment,
    role,
    isComplete,
    peerEndpoint,
  }));
  return listings.sort(
    (a, b) => Number(b.role === 'gold') - Number(a.role === 'gold') || (a.segment < b.segment ? -1 : 1),
  );
}

export async function readStatus(parts: Reader, name: string, signal: AbortSignal): Promise<ObjectStatus> {
  const found = await parts.reader.find(name, { signal });
  if (found === undefined) {
    throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot tell the status of "${name}": no live store has it`, {
      name,
    });
  }
  const listings = await readSources(parts, name, signal);
  const statuses = new Map<string, SourceStatus>();
  await inLanes(listings, ASKED_AT_ONCE, async (listing) => {
    statuses.set(listing.segment, await askSource(parts, name, listing, signal));
  });
  signal.throwIfAborted();
  const sources = listings.flatMap(({ segment }) => statuses.get(segment) ?? []);
  return { ...payloadInfo(name, found.object), verify: found.object.digest.algorithm, sources };
}

async function askSource(
  parts: Reader,
  name: string,
  listing: SourceListing,
  signal: AbortSignal,
): Promise<SourceStatus> {
  const unknown = { verifiedPieces: 0, pieces: 0, followers: 0, bytesPerSecond: 0, sources: [] };
  try {
    const answer = await parts.peerClient.getStatus(listing.peerEndpoint, name, {
      signal,
      timeoutMs: ANSWER_TIMEOUT_MS,
    });
    if (!answer.isServed) return { ...listing, state: 'unreachable', ...unknown };
    return {
      ...listing,
      state: answer.state === State.DAMAGED ? 'damaged' : 'serving',
      verifiedPieces: answer.verifiedPieces,
      pieces: answer.pieces,
      followers: answer.followers,
      bytesPerSecond: answer.bytesPerSecond,
      sources: answer.sources.map(({ segment, bytes, bytesPerSecond }) => ({
        segment,
        bytes: Number(bytes),
        bytesPerSecond,
      })),
    };
  } catch {
    signal.throwIfAborted();
    return { ...listing, state: 'unreachable', ...unknown }; // it may have died a moment ago
  }
}
