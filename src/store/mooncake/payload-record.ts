/**
 * The record by which Mooncake's Go store knows an object, at `mooncake/checkpoint/<name>`:
 *
 *     {"name":"a","size":3,"size_list":[3],"max_shard_size":2,
 *      "shards":[{"size":2,"gold":[{"segment_name":"h:1","offset":4096}],"replica_list":null}, ...]}
 *
 * It names the place of every shard in every store that has it. Lists that are empty are written as `null`, and may be missing;
 * integers have up to 64 bits. The key does not depend on a cluster id, unlike the keys of Mooncake's engine.
 */
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { BUFFERS_MAX } from '../records.ts';
import { goString, parseExactJson } from './exact-json.ts';

const PREFIX = 'mooncake/checkpoint/';

/** etcd takes requests of 1.5 MiB by default. What is larger was made for an etcd that takes more, or to hurt. */
export const PAYLOAD_MAX_BYTES: number = 4 * 1024 * 1024;
/** Bounds what a record makes a reader allocate and a pull keep; four times what fits into 1.5 MiB. */
export const SHARDS_MAX = 65_536;
const LOCATIONS_MAX = 4_096;
/** The key of a segment's descriptor must be a key. */
const SEGMENT_MAX_BYTES = 1_024;

const U64_MAX = 2n ** 64n - 1n;

/** Where one copy of a shard lies. */
export interface PayloadLocation {
  readonly segment: string;
  /** Virtual address in the process of that segment. */
  readonly address: bigint;
}

export interface PayloadShard {
  readonly sizeBytes: bigint;
  readonly gold: readonly PayloadLocation[];
  readonly replicas: readonly PayloadLocation[];
}

/** A record as it stands, field by field; nothing says yet that the fields agree with each other. */
export interface Payload {
  readonly name: string;
  readonly sizeBytes: bigint;
  /** Of the buffers as registered. */
  readonly sizes: readonly bigint[];
  readonly maxShardSizeBytes: bigint;
  /** Buffer after buffer; no shard lies in two. */
  readonly shards: readonly PayloadShard[];
}

export function payloadKey(name: string): string {
  return PREFIX + name;
}

/** Of the records of all names that start with `namePrefix`. */
export function payloadsPrefix(namePrefix: string): string {
  return PREFIX + namePrefix;
}

/** @returns The name; it may be one that no object of ours can have. */
export function parsePayloadKey(key: string): string | undefined {
  return key.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
}

const unsigned = z
  .bigint()
  .min(0n)
  .max(U64_MAX)
  .nullish()
  .transform((value) => value ?? 0n);
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const segment = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= SEGMENT_MAX_BYTES && !/\p{Surrogate}/u.test(name), {
    error: 'is no name of a segment',
  });

function list<T extends z.ZodType>(item: T, max: number): z.ZodType<readonly z.output<T>[]> {
  return z
    .array(item)
    .max(max)
    .nullish()
    .transform((items) => items ?? []);
}

const location: z.ZodType<PayloadLocation> = z
  .object({ segment_name: segment, offset: unsigned })
  .transform(({ segment_name, offset }) => ({ segment: segment_name, address: offset }));

const shard: z.ZodType<PayloadShard> = z
  .object({ size: unsigned, gold: list(location, LOCATIONS_MAX), replica_list: list(location, LOCATIONS_MAX) })
  .transform(({ size, gold, replica_list }) => ({ sizeBytes: size, gold, replicas: replica_list }));

const payload: z.ZodType<Payload> = z
  .object({
    name: text,
    size: unsigned,
    size_list: list(unsigned, BUFFERS_MAX),
    max_shard_size: unsigned,
    shards: list(shard, SHARDS_MAX),
  })
  .transform(({ name, size, size_list, max_shard_size, shards }) => ({
    name,
    sizeBytes: size,
    sizes: size_list,
    maxShardSizeBytes: max_shard_size,
    shards,
  }));

/** @throws P2P_RECORD_INVALID Too large, no JSON, or of other fields. */
export function decodePayload(key: string, value: Uint8Array): Payload {
  if (value.length > PAYLOAD_MAX_BYTES) throw invalidPayload(key, `it has ${value.length} bytes`);
  let json: unknown;
  try {
    json = parseExactJson(Buffer.from(value).toString('utf8'));
  } catch (cause) {
    throw invalidPayload(key, 'it is not JSON', cause);
  }
  const parsed = payload.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalidPayload(
    key,
    `${issue?.path.join('.') || 'the record'}: ${issue?.message ?? 'is invalid'}`,
    parsed.error,
  );
}

export function invalidPayload(key: string, state: string, cause?: unknown): P2PStoreError<'P2P_RECORD_INVALID'> {
  return new P2PStoreError(ErrorCode.RecordInvalid, `Cannot read record ${key}: ${state}`, { key }, { cause });
}

/** Writes a record byte by byte as the Go store does. */
export function encodePayload({ name, sizeBytes, sizes, maxShardSizeBytes, shards }: Payload): Buffer {
  const encoded = shards.map(
    (each) =>
      `{"size":${each.sizeBytes},"gold":${encodeLocations(each.gold)},"replica_list":${encodeLocations(each.replicas)}}`,
  );
  return Buffer.from(
    `{"name":${goString(name)},"size":${sizeBytes},"size_list":${encodeList(sizes.map(String))},` +
      `"max_shard_size":${maxShardSizeBytes},"shards":${encodeList(encoded)}}`,
  );
}

function encodeLocations(locations: readonly PayloadLocation[]): string {
  return encodeList(
    locations.map(({ segment: name, address }) => `{"segment_name":${goString(name)},"offset":${address}}`),
  );
}

function encodeList(items: readonly string[]): string {
  return items.length === 0 ? 'null' : `[${items.join(',')}]`;
}
