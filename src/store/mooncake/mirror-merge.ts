/** What a Mooncake record should say once this store has its part in it. Pure: decides, and touches nothing. */
import { isSameShape } from './payload-object.ts';
import type { Payload, PayloadLocation, PayloadShard } from './payload-record.ts';

/**
 * More would not help: a Mooncake store leaves the gold alone as soon as there are two replicas, and each writes the address of
 * every shard into the record.
 */
export const MIRRORED_REPLICAS_MAX = 3;

/**
 * Who another segment in the record is: a store of ours that has the same object now, a Mooncake store, a store of ours that does
 * not have it (any more), or nobody, as its descriptor is gone.
 */
export type Standing = 'peer' | 'stranger' | 'stale' | 'gone';

export interface MergeInput {
  /** The record as it is; undefined when there is none. */
  readonly current: Payload | undefined;
  /** The object of this store, without locations. */
  readonly shape: Payload;
  readonly own: {
    readonly segment: string;
    readonly role: 'gold' | 'replica';
    /** Of every shard. */
    readonly addresses: readonly bigint[];
  };
  readonly standingOf: (segment: string) => Standing;
  /** The object came from a Mooncake store: the record is theirs. */
  readonly isTheirs: boolean;
  /** Takes the name also from Mooncake stores, as their `forceCreate` does. */
  readonly mayReplace: boolean;
  /** This store's part was in the record before. */
  readonly wasMirrored: boolean;
}

export type Merge =
  | {
      readonly kind: 'write';
      readonly payload: Payload;
      /** All locations are this store's: nobody is hurt when the record vanishes with its lease. */
      readonly isAlone: boolean;
    }
  | { readonly kind: 'leave'; readonly why: string };

/** Adds, or keeps, this store's locations; takes out those that nobody can use. */
export function mergeMirror(input: MergeInput): Merge {
  const { current, shape, own, isTheirs, mayReplace } = input;
  const fresh = (): Merge => write(withOwn(shape, own), own.segment);
  if (current === undefined) return isTheirs ? leave('the record of its Mooncake store is gone') : fresh();
  const kept = filterLocations(current, (segment) => segment !== own.segment && isKept(input, segment));
  const segments = { gold: listSegments(kept, 'gold'), replicas: listSegments(kept, 'replicas') };
  const strangers = [...segments.gold, ...segments.replicas].filter(
    (segment) => input.standingOf(segment) === 'stranger',
  );
  if (mayReplace && strangers.length > 0) return fresh();
  if (!isSameShape(current, shape)) {
    return isTheirs || strangers.length > 0 ? leave('a Mooncake store has another object of that name') : fresh();
  }
  if (!isTheirs) {
    const problem = problemOfStrangers(input, segments, strangers);
    if (problem !== undefined) return leave(problem);
  }
  if (own.role === 'replica' && segments.replicas.length >= MIRRORED_REPLICAS_MAX)
    return leave('it lists enough replicas');
  return write(withOwn(kept, own), own.segment);
}

/** Takes one store's locations out. @returns undefined when it has none. */
export function withoutSegment(current: Payload, segment: string): Payload | undefined {
  const isNamed = current.shards.some(({ gold, replicas }) =>
    [...gold, ...replicas].some((at) => at.segment === segment),
  );
  return isNamed ? filterLocations(current, (other) => other !== segment) : undefined;
}

/** Whether nobody is named: Mooncake's stores delete such a record. */
export function isEmpty({ shards }: Payload): boolean {
  return shards.every(({ gold, replicas }) => gold.length === 0 && replicas.length === 0);
}

/** A record of theirs keeps all that is not ours to judge. */
function isKept({ standingOf, isTheirs }: MergeInput, segment: string): boolean {
  const standing = standingOf(segment);
  return standing === 'peer' || standing === 'stranger' || (isTheirs && standing === 'gone');
}

/** Replicas of strangers may be of an object that had the name before: only who was there before them knows. */
function problemOfStrangers(
  { standingOf, wasMirrored, current, own }: MergeInput,
  segments: { readonly gold: readonly string[]; readonly replicas: readonly string[] },
  strangers: readonly string[],
): string | undefined {
  if (strangers.length === 0) return undefined;
  if (segments.gold.some((segment) => standingOf(segment) === 'stranger'))
    return 'a Mooncake store registered that name';
  const hasPeer = [...segments.gold, ...segments.replicas].some((segment) => standingOf(segment) === 'peer');
  const isNamed = current !== undefined && withoutSegment(current, own.segment) !== undefined;
  return hasPeer || wasMirrored || isNamed
    ? undefined
    : 'a Mooncake store has a replica of another object of that name';
}

function withOwn({ shards, ...payload }: Payload, { segment, role, addresses }: MergeInput['own']): Payload {
  const add = (locations: readonly PayloadLocation[], index: number): PayloadLocation[] => [
    ...locations,
    { segment, address: addresses[index] ?? 0n },
  ];
  return {
    ...payload,
    shards: shards.map((shard, index) =>
      role === 'gold' ? { ...shard, gold: add(shard.gold, index) } : { ...shard, replicas: add(shard.replicas, index) },
    ),
  };
}

function filterLocations({ shards, ...payload }: Payload, keep: (segment: string) => boolean): Payload {
  const filter = (locations: readonly PayloadLocation[]): PayloadLocation[] =>
    locations.filter(({ segment }) => keep(segment));
  return {
    ...payload,
    shards: shards.map((shard) => ({ ...shard, gold: filter(shard.gold), replicas: filter(shard.replicas) })),
  };
}

function listSegments({ shards }: Payload, list: Exclude<keyof PayloadShard, 'sizeBytes'>): string[] {
  return [...new Set(shards.flatMap((shard) => shard[list].map(({ segment }) => segment)))];
}

function write(payload: Payload, ownSegment: string): Merge {
  const isAlone = !payload.shards.some(({ gold, replicas }) =>
    [...gold, ...replicas].some((at) => at.segment !== ownSegment),
  );
  return { kind: 'write', payload, isAlone };
}

function leave(why: string): Merge {
  return { kind: 'leave', why };
}
