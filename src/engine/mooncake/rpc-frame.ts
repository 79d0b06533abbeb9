/**
 * The frame of Mooncake's RPC port: one request and one reply on a connection, both
 *
 *   offset  size  field
 *   0       8     length of what follows, u64 little-endian: 1 + bytes of JSON
 *   8       1     type
 *   9       ...   JSON, UTF-8, by custom with a newline at its end
 *
 * A first byte above 3 is no type: the peer is older, its JSON starts there, and counts as type 0; the reply
 * then has no type either. A length of 0 or above the limit ends the connection.
 */
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

export const RpcType = { Handshake: 0, Metadata: 1, Notify: 2, Probe: 3 } as const;
export type RpcType = (typeof RpcType)[keyof typeof RpcType];

/** What Mooncake's engine takes unless told otherwise; a descriptor of 8,192 buffers has 0.6 MB. */
export const RPC_BODY_BYTES_MAX: number = 1 << 20;

const LENGTH_BYTES = 8;
const LAST_TYPE = 3;

export interface RpcFrame {
  /** Undefined: the peer is older and named none, which means a handshake. */
  readonly type: RpcType | undefined;
  /** JSON that has been parsed. */
  readonly body: unknown;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/** @param json - The text of the body; a newline is added when it has none at its end. */
export function encodeRpcFrame(type: RpcType | undefined, json: string): Buffer {
  const body = Buffer.from(json.endsWith('\n') ? json : `${json}\n`);
  const head = Buffer.alloc(LENGTH_BYTES + (type === undefined ? 0 : 1));
  head.writeBigUInt64LE(BigInt(body.length + head.length - LENGTH_BYTES));
  if (type !== undefined) head.writeUInt8(type, LENGTH_BYTES);
  return Buffer.concat([head, body]);
}

/** Puts one frame together from the parts in which it comes. */
export class RpcFrameReader {
  readonly #bytesMax: number;
  readonly #parts: Buffer[] = [];
  #received = 0;

  constructor(bytesMax: number = RPC_BODY_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /**
   * @returns The frame once it is whole, undefined before; what follows it is ignored.
   * @throws P2P_RECORD_INVALID The length is out of range, the type unknown, or the body no JSON.
   */
  push(part: Buffer): RpcFrame | undefined {
    this.#parts.push(part);
    this.#received += part.length;
    if (this.#received < LENGTH_BYTES) return undefined;
    const bytes = this.#joined();
    const lengthBytes = bytes.readBigUInt64LE();
    if (lengthBytes === 0n || lengthBytes > BigInt(this.#bytesMax)) {
      throw invalidFrame(`its length is ${lengthBytes}`);
    }
    const end = LENGTH_BYTES + Number(lengthBytes);
    return this.#received < end ? undefined : decodePayload(bytes.subarray(LENGTH_BYTES, end));
  }

  /** Joins what has come only when its head is wanted or it is whole, so that many small parts cost little. */
  #joined(): Buffer {
    const [first] = this.#parts;
    if (first !== undefined && first.length >= LENGTH_BYTES) {
      const length = first.readBigUInt64LE();
      if (BigInt(this.#received - LENGTH_BYTES) < length) return first;
    }
    const joined = Buffer.concat(this.#parts);
    this.#parts.splice(0, this.#parts.length, joined);
    return joined;
  }
}

function decodePayload(payload: Buffer): RpcFrame {
  const first = payload.readInt8();
  if (first < 0) throw invalidFrame(`its type is ${first}`);
  if (first > LAST_TYPE) return { type: undefined, body: parseJson(payload) };
  return { type: first as RpcType, body: parseJson(payload.subarray(1)) };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw invalidFrame('its body is no JSON', cause);
  }
}

function invalidFrame(state: string, cause?: unknown): P2PStoreError<'P2P_RECORD_INVALID'> {
  return new P2PStoreError(
    ErrorCode.RecordInvalid,
    `Cannot read a frame of the RPC port: ${state}`,
    { key: 'rpc' },
    { cause },
  );
}
