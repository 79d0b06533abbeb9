/**
 * The framing of the TCP data port, byte for byte that of Mooncake's Transfer Engine.
 *
 * A request is one header, whatever its length; a WRITE's body follows it:
 *
 *   offset  size  field
 *   0       8     payload length, u64 little-endian, never 0
 *   8       8     virtual address in the serving process, u64 little-endian
 *   16      1     opcode: READ 0x00, WRITE 0x01; 0x80 added for version 2
 *   17      7     padding, ignored; see below
 *
 * Version 2 answers every request with a status, u64 little-endian, whose high half is the magic "MCTV":
 * before the payload of a READ; after the last byte of a WRITE is in memory; and when the
 * address is refused, at once. Version 1 has no status: READ answers with the payload, WRITE with
 * nothing, a refusal closes the connection. After anything but success the connection is closed.
 * Requests on one connection are served strictly in order, so a client may send several ahead.
 *
 * Ours alone is the opcode 0x40 (0xc0 on the wire, version 2 only): a READ that says in its padding when it may be refused.
 * Then the server answers with the status BUSY or SENT and nothing else, and the connection goes on. The original takes
 * every opcode but 1 for a READ, so it serves this one too.
 *
 *   offset  size  field
 *   17      3     refuse when so many KiB or more are being sent already, u24 little-endian
 *   20      4     refuse when bytes from this address were sent in so many ms, u32 little-endian; 0: never
 */
import type { RefuseWhen } from '../../transfer.ts';

export const HEADER_BYTES = 24;
export const STATUS_BYTES = 8;

export type Opcode = 'read' | 'write';
export type FramingVersion = 1 | 2;

const WRITE = 0x01;
const READ_REFUSABLE = 0x40;
const VERSION_2 = 0x80;
const STATUS_MAGIC = 0x4d435456;
const STATUS_OK = 0;
const STATUS_REJECTED = 1;
const STATUS_BUSY = 2;
const STATUS_SENT = 3;
const KIB = 1024;
const U24_MAX = 0xff_ffff;
const U32_MAX = 0xffff_ffff;

/** The slice of {@link Scratch} that framing needs; tests use a plain DataView. */
export interface FrameMemory {
  readonly view: DataView;
}

export interface Header {
  readonly opcode: Opcode;
  readonly version: FramingVersion;
  /** May exceed 2^53 when the peer is hostile; then it is inexact, and larger than any range. */
  readonly lengthBytes: number;
  readonly address: number;
  /** Only of a READ of version 2: it may be refused. */
  readonly refuseWhen?: RefuseWhen | undefined;
}

export type Status = 'ok' | 'rejected' | 'busy' | 'sent';

const STATUS_CODES: Readonly<Record<Status, number>> = {
  ok: STATUS_OK,
  rejected: STATUS_REJECTED,
  busy: STATUS_BUSY,
  sent: STATUS_SENT,
};

function setUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function getUint64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}

export function encodeHeader({ view }: FrameMemory, offset: number, header: Header): void {
  setUint64(view, offset, header.lengthBytes);
  setUint64(view, offset + 8, header.address);
  const version = header.version === 2 ? VERSION_2 : 0;
  setUint64(view, offset + 16, version | (header.opcode === 'write' ? WRITE : 0));
  if (header.refuseWhen !== undefined && version !== 0) encodeRefuseWhen(view, offset, header.refuseWhen);
}

function encodeRefuseWhen(view: DataView, offset: number, { queuedBytes, sentWithinMs }: RefuseWhen): void {
  const queuedKib = Math.min(Math.ceil(queuedBytes / KIB), U24_MAX);
  view.setUint32(offset + 16, (queuedKib * 256 + VERSION_2 + READ_REFUSABLE) >>> 0, true);
  view.setUint32(offset + 20, Math.min(Math.ceil(sentWithinMs), U32_MAX), true);
}

function decodeRefuseWhen(view: DataView, offset: number): RefuseWhen {
  return {
    queuedBytes: (view.getUint32(offset + 16, true) >>> 8) * KIB,
    sentWithinMs: view.getUint32(offset + 20, true),
  };
}

/** Every value decodes: exactly 1 below the version bit is a WRITE, all else a READ, as the original has it. */
export function decodeHeader({ view }: FrameMemory, offset: number): Header {
  const code = view.getUint8(offset + 16);
  const opcode = (code & ~VERSION_2) === WRITE ? 'write' : 'read';
  const version = (code & VERSION_2) === 0 ? 1 : 2;
  return {
    opcode,
    version,
    refuseWhen: code === (VERSION_2 | READ_REFUSABLE) ? decodeRefuseWhen(view, offset) : undefined,
    lengthBytes: getUint64(view, offset),
    address: getUint64(view, offset + 8),
  };
}

export function encodeStatus({ view }: FrameMemory, offset: number, status: Status): void {
  view.setUint32(offset, STATUS_CODES[status], true);
  view.setUint32(offset + 4, STATUS_MAGIC, true);
}

/** `legacy`: no magic, so the peer speaks version 1 and its bytes are payload. An unknown code is a rejection. */
export function decodeStatus({ view }: FrameMemory, offset: number): Status | 'legacy' {
  if (view.getUint32(offset + 4, true) !== STATUS_MAGIC) return 'legacy';
  switch (view.getUint32(offset, true)) {
    case STATUS_OK:
      return 'ok';
    case STATUS_BUSY:
      return 'busy';
    case STATUS_SENT:
      return 'sent';
    default:
      return 'rejected';
  }
}
