/**
 * The records of an object, as JSON: versioned, unknown fields ignored, and checked when read, because whoever can
 * write to the metadata store can write anything. Sizes are O(buffers): shards, pieces and digests never appear.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { isPowerOfTwo, MIB } from '../core/units.ts';
import { pieceCount } from '../swarm/layout.ts';
import { PEER_ADDRESSES_MAX } from '../swarm/source-feed.ts';

/** More would let one record outgrow what etcd takes in a request: a source record has about 31 bytes a buffer. */
export const BUFFERS_MAX = 16_384;
/** Bounds what a record can make a reader allocate: 16 TiB in pieces of 16 MiB, or 4 GiB in shards of 4 KiB. */
export const PIECES_MAX: number = 2 ** 20;
/** etcd refuses requests above 1.5 MiB; a registration puts both records in one. */
export const RECORD_MAX_BYTES = 700_000;

/** What makes an object a folder: its first bytes say which files the others are. */
export interface FolderRecord {
  /** Length of the manifest, with which the object begins. */
  readonly manifestBytes: number;
  /** Of the manifest, in hex; by the object's algorithm, or by xxh64 where the object has none. */
  readonly manifestDigest: string;
  /** How many, for lists. */
  readonly files: number;
}

/** About a million files. Bounds what a reader allocates before it has checked anything. */
export const MANIFEST_MAX_BYTES: number = 64 * MIB;

/** What an object is: the same for all its sources, and the same however its receivers split their memory. */
export interface ObjectRecord {
  readonly version: 1;
  /** Another one for every `register`, so that nobody mixes the bytes of two. */
  readonly generation: string;
  /** Of the buffers as registered. */
  readonly sizes: readonly number[];
  readonly maxShardSizeBytes: number;
  readonly pieceSizeBytes: number;
  readonly digest: {
    readonly algorithm: 'xxh64' | 'blake3' | 'none';
    /** Over the digests of all pieces; absent until the gold source has computed them. */
    readonly root?: string | undefined;
  };
  /** Absent for an object of bytes. Readers that do not know it see those bytes. */
  readonly folder?: FolderRecord | undefined;
  /** Set when a Mooncake store registered the object, and stores of ours pulled it from there: nobody has digests of it. */
  readonly origin?: 'mooncake' | undefined;
}

/** Who serves an object, from which memory. */
export interface SourceRecord {
  readonly version: 1;
  readonly generation: string;
  readonly role: 'gold' | 'replica';
  /** Whether it has, and has verified, every piece. */
  readonly isComplete: boolean;
  /** `host:port` of its peer service. */
  readonly peerEndpoint: string;
  /** Addresses of its other network cards, at which its peer service answers on the same port; absent: there are none. */
  readonly peerAddresses?: readonly string[] | undefined;
  /** Of its buffers, in logical order; hexadecimal text in the record. */
  readonly addresses: readonly number[];
  readonly sizes: readonly number[];
}

/** A store that waits for an object, where others that wait too can reach it. */
export interface WaitingRecord {
  readonly version: 1;
  readonly peerEndpoint: string;
  readonly peerAddresses?: readonly string[] | undefined;
}

const text = z.string().min(1).max(255);
const sizes = z.array(z.int().min(0)).max(BUFFERS_MAX);
const powerOfTwo = z.number().refine(isPowerOfTwo, { error: 'not a power of two' });
const address = z
  .string()
  .regex(/^0x[0-9a-f]{1,13}$/)
  .transform(Number);

const numericAddress = z.string().refine((text) => isIP(text) !== 0 && !text.includes('%'));

const objectRecordSchema: z.ZodType<ObjectRecord> = z
  .object({
    version: z.literal(1),
    generation: text,
    sizes,
    maxShardSizeBytes: powerOfTwo,
    pieceSizeBytes: powerOfTwo,
    digest: z.object({
      algorithm: z.enum(['xxh64', 'blake3', 'none']),
      root: z
        .string()
        .regex(/^[0-9a-f]{2,128}$/)
        .optional(),
    }),
    folder: z
      .object({
        manifestBytes: z.int().min(1).max(MANIFEST_MAX_BYTES),
        manifestDigest: z.string().regex(/^[0-9a-f]{16,64}$/),
        files: z.int().min(0),
      })
      .optional(),
    origin: z.literal('mooncake').optional().catch(undefined),
  })
  .refine((record) => Number.isSafeInteger(totalSizeBytes(record.sizes)), { error: 'sizes add up to more than 2^53' })
  .refine((record) => record.pieceSizeBytes <= record.maxShardSizeBytes, { error: 'a piece is larger than a shard' })
  .refine((record) => (record.folder?.manifestBytes ?? 0) <= totalSizeBytes(record.sizes), {
    error: 'the manifest is larger than the object',
  })
  .refine((record) => countPieces(record) <= PIECES_MAX, { error: 'more pieces than any object has' });

const place = {
  peerEndpoint: z.string().min(3).max(300),
  peerAddresses: z.array(numericAddress).max(PEER_ADDRESSES_MAX).optional().catch(undefined),
};

const waitingRecordSchema: z.ZodType<WaitingRecord> = z.object({ version: z.literal(1), ...place });

const sourceRecordSchema: z.ZodType<SourceRecord> = z
  .object({
    version: z.literal(1),
    generation: text,
    role: z.enum(['gold', 'replica']),
    isComplete: z.boolean(),
    ...place,
    addresses: z.array(address).max(BUFFERS_MAX),
    sizes,
  })
  .refine((record) => record.addresses.length === record.sizes.length, {
    error: 'addresses and sizes differ in length',
  });

function encode(key: string, json: unknown): Uint8Array {
  const value = Buffer.from(JSON.stringify(json));
  if (value.length > RECORD_MAX_BYTES) {
    throw new P2PStoreError(
      ErrorCode.RecordTooLarge,
      `Cannot write record ${key}: it has ${value.length} bytes, the limit is ${RECORD_MAX_BYTES}`,
      { key, sizeBytes: value.length, limitBytes: RECORD_MAX_BYTES },
    );
  }
  return value;
}

function decode<T>(schema: z.ZodType<T>, key: string, value: Uint8Array): T {
  const refuse = (state: string, cause: unknown): never => {
    throw new P2PStoreError(ErrorCode.RecordInvalid, `Cannot read record ${key}: ${state}`, { key }, { cause });
  };
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(value).toString('utf8'));
  } catch (cause) {
    return refuse('it is not JSON', cause);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  return refuse(`${issue?.path.join('.') || 'the record'}: ${issue?.message ?? 'is invalid'}`, parsed.error);
}

/** @throws P2P_RECORD_TOO_LARGE */
export function encodeObjectRecord(key: string, record: ObjectRecord): Uint8Array {
  return encode(key, record);
}

/** @throws P2P_RECORD_INVALID */
export function decodeObjectRecord(key: string, value: Uint8Array): ObjectRecord {
  return decode(objectRecordSchema, key, value);
}

/** @throws P2P_RECORD_TOO_LARGE */
export function encodeSourceRecord(key: string, record: SourceRecord): Uint8Array {
  return encode(key, { ...record, addresses: record.addresses.map((address) => `0x${address.toString(16)}`) });
}

/** @throws P2P_RECORD_INVALID */
export function decodeSourceRecord(key: string, value: Uint8Array): SourceRecord {
  return decode(sourceRecordSchema, key, value);
}

/** @throws P2P_RECORD_TOO_LARGE */
export function encodeWaitingRecord(key: string, record: WaitingRecord): Uint8Array {
  return encode(key, record);
}

/** @throws P2P_RECORD_INVALID */
export function decodeWaitingRecord(key: string, value: Uint8Array): WaitingRecord {
  return decode(waitingRecordSchema, key, value);
}

export function totalSizeBytes(sizesBytes: readonly number[]): number {
  return sizesBytes.reduce((total, size) => total + size, 0);
}

export function countPieces({ sizes, pieceSizeBytes }: Pick<ObjectRecord, 'sizes' | 'pieceSizeBytes'>): number {
  return pieceCount({ totalSize: totalSizeBytes(sizes), pieceSizeBytes });
}

/** By what the manifest of a folder is checked. */
export function digestOfFolder(algorithm: ObjectRecord['digest']['algorithm']): 'xxh64' | 'blake3' {
  return algorithm === 'none' ? 'xxh64' : algorithm;
}
