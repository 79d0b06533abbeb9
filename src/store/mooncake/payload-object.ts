/** What a Mooncake record means in our words: an object without digests, and complete copies of it. And the other way. */
import { createHash } from 'node:crypto';
import { GIB, isPowerOfTwo } from '../../core/units.ts';
import { choosePieceSizeBytes } from '../../swarm/layout.ts';
import type { AddressRange } from '../../swarm/range-index.ts';
import { checkObjectName } from '../object-name.ts';
import { countPieces, type ObjectRecord, PIECES_MAX, totalSizeBytes } from '../records.ts';
import { invalidPayload, type Payload, type PayloadLocation, payloadKey } from './payload-record.ts';

const SHARD_SIZE_BYTES_MAX = 4 * GIB;
/** Copies that a pull looks at; gold first. */
const COPIES_MAX = 64;

/** One store that has every shard, by a Mooncake record. */
export interface PayloadCopy {
  readonly segment: string;
  readonly role: 'gold' | 'replica';
  /** In logical order, shard by shard. */
  readonly ranges: readonly AddressRange[];
}

/**
 * Reads a record as an object of ours: nobody has digests of it, and its generation is that of its gold.
 *
 * @throws P2P_RECORD_INVALID The fields do not agree with each other, or the object is more than we can take.
 */
export function objectOfPayload(name: string, payload: Payload): ObjectRecord {
  const refuse = (state: string): never => {
    throw invalidPayload(payloadKey(name), state);
  };
  checkObjectName(name);
  if (payload.name !== name) refuse('it has another name than its key');
  const sizes = payload.sizes.map(Number);
  const totalSize = totalSizeBytes(sizes);
  if (!Number.isSafeInteger(totalSize)) refuse('its sizes add up to more than 2^53');
  if (BigInt(totalSize) !== payload.sizeBytes) refuse('its sizes do not add up');
  const maxShardSizeBytes = Number(payload.maxShardSizeBytes);
  if (!isPowerOfTwo(maxShardSizeBytes) || maxShardSizeBytes > SHARD_SIZE_BYTES_MAX) refuse('its shard size is none');
  if (!isCutAs(payload, sizes, maxShardSizeBytes)) refuse('its shards are not those of its buffers');
  const object: ObjectRecord = {
    version: 1,
    generation: generationOf(payload),
    sizes,
    maxShardSizeBytes,
    pieceSizeBytes: choosePieceSizeBytes({ totalSize, maxShardSize: maxShardSizeBytes }),
    digest: { algorithm: 'none' },
    origin: 'mooncake',
  };
  if (countPieces(object) > PIECES_MAX) refuse('it has more pieces than any object');
  return object;
}

/** Lengths of the shards that buffers of these sizes are cut into. */
export function* shardSizes(sizes: readonly number[], maxShardSizeBytes: number): Generator<number> {
  for (const size of sizes) {
    for (let at = 0; at < size; at += maxShardSizeBytes) yield Math.min(maxShardSizeBytes, size - at);
  }
}

export function countShards({ sizes, maxShardSizeBytes }: Pick<ObjectRecord, 'sizes' | 'maxShardSizeBytes'>): number {
  return sizes.reduce((count, size) => count + Math.ceil(size / maxShardSizeBytes), 0);
}

function isCutAs({ shards }: Payload, sizes: readonly number[], maxShardSizeBytes: number): boolean {
  let index = 0;
  for (const size of shardSizes(sizes, maxShardSizeBytes)) {
    if (shards[index]?.sizeBytes !== BigInt(size)) return false;
    index += 1;
  }
  return index === shards.length;
}

/** Stays the same while replicas come and go, and all readers find the same. */
function generationOf({ name, sizes, maxShardSizeBytes, shards }: Payload): string {
  const hash = createHash('sha256').update(JSON.stringify([name, sizes.map(String), String(maxShardSizeBytes)]));
  for (const { gold } of shards) {
    hash.update(JSON.stringify(gold.map(({ segment, address }) => [segment, String(address)])));
  }
  return `mooncake-${hash.digest('hex').slice(0, 32)}`;
}

/** Whether two records mean objects of the same cut; their bytes may differ. */
export function isSameShape(one: Payload, other: Payload): boolean {
  return (
    one.sizeBytes === other.sizeBytes &&
    one.maxShardSizeBytes === other.maxShardSizeBytes &&
    one.sizes.length === other.sizes.length &&
    one.sizes.every((size, index) => size === other.sizes[index]) &&
    one.shards.length === other.shards.length &&
    one.shards.every(({ sizeBytes }, index) => sizeBytes === other.shards[index]?.sizeBytes)
  );
}

/**
 * Whether a record is of the object that was read from it before. Once the gold is gone only the cut tells: the replicas that are
 * left are of that gold.
 *
 * @param object - What {@link objectOfPayload} makes of the record.
 */
export function isSameObject(payload: Payload, object: ObjectRecord, before: ObjectRecord): boolean {
  if (object.generation === before.generation) return true;
  if (payload.shards.some(({ gold }) => gold.length > 0)) return false;
  const isSameCut =
    object.sizes.length === before.sizes.length && object.sizes.every((size, at) => size === before.sizes[at]);
  return isSameCut && object.maxShardSizeBytes === before.maxShardSizeBytes;
}

/** Segments that the record names, gold first. */
export function segmentsOf({ shards }: Payload): string[] {
  const gold = shards.flatMap((shard) => shard.gold.map(({ segment }) => segment));
  const replicas = shards.flatMap((shard) => shard.replicas.map(({ segment }) => segment));
  return [...new Set([...gold, ...replicas])];
}

/** Lists the stores that have every shard, gold first; one that has only some is of no use to us. */
export function completeCopies(payload: Payload): PayloadCopy[] {
  const gold = copiesIn(payload, 'gold', ({ gold: locations }) => locations);
  const taken = new Set(gold.map(({ segment }) => segment));
  const replicas = copiesIn(payload, 'replica', ({ replicas: locations }) => locations);
  return [...gold, ...replicas.filter(({ segment }) => !taken.has(segment))].slice(0, COPIES_MAX);
}

function copiesIn(
  { shards }: Payload,
  role: PayloadCopy['role'],
  locationsOf: (shard: Payload['shards'][number]) => readonly PayloadLocation[],
): PayloadCopy[] {
  const copies = new Map<string, AddressRange[]>();
  for (const [index, shard] of shards.entries()) {
    const lengthBytes = Number(shard.sizeBytes);
    for (const { segment, address } of locationsOf(shard)) {
      const isReachable = address > 0n && address + shard.sizeBytes <= BigInt(Number.MAX_SAFE_INTEGER);
      const ranges = copies.get(segment) ?? [];
      // What misses a shard stays behind for good; what names one twice is taken by its first word.
      if (!isReachable || ranges.length !== index) continue;
      ranges.push({ address: Number(address), lengthBytes });
      copies.set(segment, ranges);
    }
  }
  return Array.from(copies, ([segment, ranges]) => ({ segment, role, ranges })).filter(
    ({ ranges }) => ranges.length === shards.length,
  );
}

/** The record of an object of ours without any location. Buffers without bytes are left out: the Go store cannot register them. */
export function payloadOfObject(name: string, object: ObjectRecord): Payload {
  const sizes = object.sizes.filter((size) => size > 0);
  const { maxShardSizeBytes } = object;
  return {
    name,
    sizeBytes: BigInt(totalSizeBytes(sizes)),
    sizes: sizes.map(BigInt),
    maxShardSizeBytes: BigInt(maxShardSizeBytes),
    shards: Array.from(shardSizes(sizes, maxShardSizeBytes), (size) => ({
      sizeBytes: BigInt(size),
      gold: [],
      replicas: [],
    })),
  };
}
