/** Who has an object, and how far they are. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { GetStatusResponse } from '../swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { State } from '../swarm/gen/p2pstore/peer/v1/peer_pb.ts';
import { inLanes } from './lanes.ts';
import type { FoundObject } from './object-reader.ts';
import { type PayloadInfo, payloadInfo } from './payload-info.ts';
import { type ObjectRecord, totalSizeBytes } from './records.ts';
import type { StoreParts } from './store-parts.ts';

/** One store that serves an object, as the metadata store lists it. */
export interface SourceListing {
  /** Its `localSegmentName`. */
  readonly segment: string;
  /** `gold` registered the object, a `replica` pulled it. */
  readonly role: 'gold' | 'replica';
  readonly isComplete: boolean;
  /** `host:port` that answers for it; empty for a store of Mooncake, where nothing does. */
  readonly peerEndpoint: string;
  /** Other addresses at which it answers, on the same port: those of its other network cards. */
  readonly peerAddresses?: readonly string[] | undefined;
  /** Set for a store of Mooncake. */
  readonly origin?: 'mooncake';
}

/** What one source takes, or took, from another. */
export interface SourceFlow {
  /** Of the store that sends. */
  readonly segment: string;
  readonly role: 'gold' | 'replica';
  /** Verified bytes. */
  readonly bytes: number;
  /** Over about the last second; 0 when nothing comes any more. */
  readonly bytesPerSecond: number;
}

/** One source as it says itself. */
export interface SourceStatus extends SourceListing {
  /** `unreachable`: it did not answer; the numbers are 0 then. `damaged`: its memory cannot be read any more. */
  readonly state: 'serving' | 'damaged' | 'unreachable';
  /** Pieces that it has and has verified. */
  readonly verifiedPieces: number;
  readonly pieces: number;
  /** About how many bytes that is. Of one that does not answer: all when its record says complete, else 0. */
  readonly verifiedBytes: number;
  /** Peers that follow what it has. */
  readonly followers: number;
  /** Speed of its own pull, in bytes per second. */
  readonly bytesPerSecond: number;
  /** How fast the others that answered take from it, in bytes per second. */
  readonly sentBytesPerSecond: number;
  /** Where its own pull takes, or took, the bytes from. */
  readonly sources: readonly SourceFlow[];
}

export interface ObjectStatus extends PayloadInfo {
  /** By what receivers verify it. */
  readonly verify: 'xxh64' | 'blake3' | 'none';
  /** Gold first, then by segment name; at most 256. */
  readonly sources: readonly SourceStatus[];
  /** How many more sources there are, which were not asked. */
  readonly sourcesNotAsked: number;
  /** Sum over all pulls. */
  readonly bytesPerSecond: number;
  /** How much of that comes from the gold source. */
  readonly goldBytesPerSecond: number;
  /** How much the sources that answered have from the gold source. */
  readonly goldBytes: number;
}

export interface StatusParts {
  readonly reader: Pick<StoreParts['reader'], 'find'>;
  /** Undefined where no Mooncake store can be. */
  readonly payloads?: Pick<NonNullable<StoreParts['payloads']>, 'findReadable'> | undefined;
  readonly peerClient: Pick<StoreParts['peerClient'], 'getStatus'>;
}

/** One status costs each source a message, and the asker no more than this. */
const ASKED_MAX = 256;
const ASKED_AT_ONCE = 16;
const ANSWER_TIMEOUT_MS = 2_000;

/** Takes what a listing tells of each source: gold first, then by segment name. */
export function listingsOf(sources: readonly SourceListing[]): SourceListing[] {
  return sources
    .map(({ segment, role, isComplete, peerEndpoint, peerAddresses, origin }) => ({
      ...{ segment, role, isComplete, peerEndpoint },
      ...(peerAddresses && { peerAddresses }),
      ...(origin && { origin }),
    }))
    .sort((a, b) => Number(b.role === 'gold') - Number(a.role === 'gold') || (a.segment < b.segment ? -1 : 1));
}

export async function readSources(parts: StatusParts, name: string, signal: AbortSignal): Promise<SourceListing[]> {
  const found = await parts.reader.find(name, { signal, isWhole: true });
  const ours = found === undefined ? [] : listingsOfRecords(found);
  if (found !== undefined && found.object.origin === undefined) return ours;
  const theirs = (await parts.payloads?.findReadable(name, { signal }))?.copies ?? [];
  const listed = theirs.map(({ segment, role }) => ({ segment, role, isComplete: true, peerEndpoint: '' }));
  return listingsOf([...ours, ...listed.map((listing) => ({ ...listing, origin: 'mooncake' as const }))]);
}

/** @throws P2P_OBJECT_NOT_FOUND */
export async function findForStatus(parts: StatusParts, name: string, signal: AbortSignal): Promise<FoundObject> {
  const found = await parts.reader.find(name, { signal, isWhole: true });
  if (found !== undefined) return found;
  const isTheirs = (await parts.payloads?.findReadable(name, { signal })) !== undefined;
  const state = isTheirs ? 'only Mooncake stores have it, which tell none' : 'no live store has it';
  throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot tell the status of "${name}": ${state}`, { name });
}

export async function readStatus(parts: StatusParts, name: string, signal: AbortSignal): Promise<ObjectStatus> {
  const found = await findForStatus(parts, name, signal);
  return await askSources(parts, { name, object: found.object, listings: listingsOfRecords(found) }, signal);
}

function listingsOfRecords({ sources }: FoundObject): SourceListing[] {
  return listingsOf(sources.map(({ segment, source }) => ({ segment, ...source })));
}

interface Question {
  readonly name: string;
  readonly object: ObjectRecord;
  /** In the order of the answer. */
  readonly listings: readonly SourceListing[];
}

/** Asks all sources, within bounds, and adds up what they say. */
export async function askSources(
  parts: StatusParts,
  { name, object, listings }: Question,
  signal: AbortSignal,
): Promise<ObjectStatus> {
  const asked = listings.slice(0, ASKED_MAX);
  const answers = new Map<string, GetStatusResponse | undefined>();
  await inLanes(asked, ASKED_AT_ONCE, async (listing) => {
    signal.throwIfAborted();
    const answer = await askSource(parts, listing, name, signal);
    answers.set(listing.segment, answer?.generation === object.generation ? answer : undefined);
  });
  signal.throwIfAborted();
  const totalBytes = totalSizeBytes(object.sizes);
  const described = asked.map((listing) => describe(listing, answers.get(listing.segment), totalBytes));
  const flows = described.flatMap(({ sources }) => sources);
  const goldFlows = flows.filter(({ role }) => role === 'gold');
  const sentBytesPerSecond = new Map<string, number>();
  for (const { segment, bytesPerSecond } of flows) {
    sentBytesPerSecond.set(segment, bytesPerSecond + (sentBytesPerSecond.get(segment) ?? 0));
  }
  return {
    ...payloadInfo(name, object),
    verify: object.digest.algorithm,
    sources: described.map((source) => ({
      ...source,
      sentBytesPerSecond: sentBytesPerSecond.get(source.segment) ?? 0,
    })),
    sourcesNotAsked: listings.length - asked.length,
    bytesPerSecond: sum(flows, 'bytesPerSecond'),
    goldBytesPerSecond: sum(goldFlows, 'bytesPerSecond'),
    goldBytes: sum(goldFlows, 'bytes'),
  };
}

function sum(flows: readonly SourceFlow[], fact: 'bytes' | 'bytesPerSecond'): number {
  return flows.reduce((total, flow) => total + flow[fact], 0);
}

/** @returns undefined when it does not answer, or does not serve the object: it may have died a moment ago. */
async function askSource(
  { peerClient }: StatusParts,
  source: SourceListing,
  name: string,
  signal: AbortSignal,
): Promise<GetStatusResponse | undefined> {
  try {
    const answer = await peerClient.getStatus(source, name, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
    return answer.isServed ? answer : undefined;
  } catch {
    return undefined;
  }
}

function describe(
  listing: SourceListing,
  answer: GetStatusResponse | undefined,
  totalBytes: number,
): Omit<SourceStatus, 'sentBytesPerSecond'> {
  if (answer === undefined) {
    const unknown = { verifiedPieces: 0, pieces: 0, followers: 0, bytesPerSecond: 0, sources: [] };
    return { ...listing, state: 'unreachable', verifiedBytes: listing.isComplete ? totalBytes : 0, ...unknown };
  }
  const { state, verifiedPieces, pieces, followers, bytesPerSecond, sources } = answer;
  return {
    ...listing,
    state: state === State.DAMAGED ? 'damaged' : 'serving',
    verifiedPieces,
    pieces,
    verifiedBytes: pieces === 0 ? totalBytes : Math.floor((totalBytes * verifiedPieces) / pieces),
    followers,
    bytesPerSecond,
    sources: sources.map((flow) => ({
      segment: flow.segment,
      role: flow.role === 'gold' ? 'gold' : 'replica',
      bytes: Number(flow.bytes),
      bytesPerSecond: flow.bytesPerSecond,
    })),
  };
}
