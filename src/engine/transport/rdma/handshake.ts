/**
 * What two engines tell each other on the RPC port before RDMA works between them, in Mooncake's form:
 *
 *   asking  `{"local_nic_path": "<own segment>@<own card>", "peer_nic_path": "<segment>@<card>", "local_gid", "local_lid",
 *           "qp_num": [...], "payload": "", "reply_msg": ""}`
 *   answer  the same from the other side; a `reply_msg` that is not empty refuses
 *
 * Queue pair i of one side is connected with queue pair i of the other. Between engines of ours a request without NIC paths
 * asks for keys: its `payload` is `{"p2pstore_ranges": [address, ...]}`, that of the answer a list with a {@link RemoteRange}
 * or null for each address. Mooncake's engines never do that; they read the keys in the descriptor.
 */
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';

export interface Handshake {
  readonly localNicPath: string;
  readonly peerNicPath: string;
  readonly gid: string;
  readonly lid: number;
  readonly queuePairs: readonly number[];
  readonly payload: string;
  /** Why it was refused; empty: it was not. */
  readonly refusal: string;
}

/** A registration of a peer, with its key for each of the peer's cards. */
export interface RemoteRange {
  readonly address: number;
  readonly lengthBytes: number;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** By card. A card that is missing cannot reach it. */
  readonly keys: Readonly<Record<string, number>>;
  /** Cards that are near to it; empty: nobody knows. */
  readonly preferred: readonly string[];
}

/** Addresses in one question. */
export const RANGES_ASKED_MAX = 1024;
const QUEUE_PAIRS_MAX = 255;

const NO_HANDSHAKE: Handshake = {
  localNicPath: '',
  peerNicPath: '',
  gid: '',
  lid: 0,
  queuePairs: [],
  payload: '',
  refusal: '',
};

const u32 = z.int().min(0).max(0xffff_ffff);

const handshakeSchema = z.object({
  local_nic_path: z.string().default(''),
  peer_nic_path: z.string().default(''),
  local_gid: z.string().default(''),
  local_lid: z.int().min(0).max(0xffff).default(0),
  qp_num: z.array(u32).max(QUEUE_PAIRS_MAX).nullish(),
  payload: z.string().default(''),
  reply_msg: z.string().default(''),
});

const askSchema = z.object({ p2pstore_ranges: z.array(z.int().positive()).max(RANGES_ASKED_MAX) });

const rangeSchema = z.object({
  address: z.int().positive(),
  lengthBytes: z.int().positive(),
  isReadable: z.boolean(),
  isWritable: z.boolean(),
  keys: z.record(z.string(), u32),
  preferred: z.array(z.string()).default([]),
});

export const remoteRangesSchema: z.ZodType<RemoteRange[]> = z.array(rangeSchema);
const rangesSchema = z.array(rangeSchema.nullable());

/** Keys in the order of Mooncake's encoder. `ready_ack` is left out: who does not send it expects none. */
export function encodeHandshake(parts: Partial<Handshake>): string {
  const { localNicPath, peerNicPath, gid, lid, queuePairs, payload, refusal } = { ...NO_HANDSHAKE, ...parts };
  return JSON.stringify({
    local_gid: gid,
    local_lid: lid,
    local_nic_path: localNicPath,
    payload,
    peer_nic_path: peerNicPath,
    qp_num: queuePairs,
    reply_msg: refusal,
  });
}

/** @throws P2P_RECORD_INVALID */
export function parseHandshake(body: unknown): Handshake {
  const record = parse(handshakeSchema, body);
  return {
    localNicPath: record.local_nic_path,
    peerNicPath: record.peer_nic_path,
    gid: record.local_gid,
    lid: record.local_lid,
    queuePairs: record.qp_num ?? [],
    payload: record.payload,
    refusal: record.reply_msg,
  };
}

export function encodeRangesQuestion(addresses: readonly number[]): string {
  return encodeHandshake({ payload: JSON.stringify({ p2pstore_ranges: addresses }) });
}

/** @returns The addresses that a question asks for; undefined: it asks for a connection. @throws P2P_RECORD_INVALID */
export function parseRangesQuestion({ payload }: Handshake): readonly number[] | undefined {
  return payload === '' ? undefined : parse(askSchema, parseJson(payload)).p2pstore_ranges;
}

export function encodeRangesAnswer(ranges: readonly (RemoteRange | undefined)[]): string {
  return encodeHandshake({ payload: JSON.stringify(ranges.map((range) => range ?? null)) });
}

/** @throws P2P_RECORD_INVALID */
export function parseRangesAnswer({ payload }: Handshake): readonly (RemoteRange | null)[] {
  return parse(rangesSchema, parseJson(payload));
}

/** Of a NIC path, `<segment>@<card>`; undefined when it is none. The name of a segment may hold an "@", a card's does not. */
export function cardOfNicPath(nicPath: string, segmentName: string): string | undefined {
  return nicPath.startsWith(`${segmentName}@`) ? nicPath.slice(segmentName.length + 1) : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(cause);
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error);
}

function invalid(cause: unknown): P2PStoreError<'P2P_RECORD_INVALID'> {
  return new P2PStoreError(
    ErrorCode.RecordInvalid,
    'Cannot read a handshake of RDMA: it has another form',
    { key: 'rdma handshake' },
    { cause },
  );
}
