/**
 * The framing of the TCP data port, byte for byte that of Mooncake's Transfer Engine.
 *
 * A request is one header, whatever its length; a WRITE's body follows it:
 *
 *   offset  size  field
 *   0       8     payload length, u64 little-endian, never 0
 *   8       8     virtual address in the serving process, u64 little-endian
 *   16      1     opcode: READ 0x00, WRITE 0x01; 0x80 added for version 2
 *   17      7     padding, ignored
 *
 * Version 2 answers every request with a status, u64 little-endian, whose high half is the magic "MCTV":
 * before the payload of a READ; after the last byte of a WRITE is in memory; and when the
 * address is refused, at once. Version 1 has no status: READ answers with the payload, WRITE with
 * nothing, a refusal closes the connection. After anything but success the connection is closed.
 * Requests on one connection are served strictly in order, so a client may send several ahead.
 */

export const HEADER_BYTES = 24;
export const STATUS_BYTES = 8;

export type Opcode = 'read' | 'write';
export type FramingVersion = 1 | 2;

const WRITE = 0x01;
const VERSION_2 = 0x80;
const STATUS_MAGIC = 0x4d435456;
const STATUS_OK = 0;
const STATUS_REJECTED = 1;

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
}

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
  const opcode = (header.opcode === 'write' ? WRITE : 0) | (header.version === 2 ? VERSION_2 : 0);
  setUint64(view, offset + 16, opcode);
}

/** Every value decodes: exactly 1 below the version bit is a WRITE, all else a READ, as the original has it. */
export function decodeHeader({ view }: FrameMemory, offset: number): Header {
  const opcode = view.getUint8(offset + 16);
  return {
    opcode: (opcode & ~VERSION_2) === WRITE ? 'write' : 'read',
    version: (opcode & VERSION_2) === 0 ? 1 : 2,
    lengthBytes: getUint64(view, offset),
    address: getUint64(view, offset + 8),
  };
}

export function encodeStatus({ view }: FrameMemory, offset: number, isOk: boolean): void {
  view.setUint32(offset, isOk ? STATUS_OK : STATUS_REJECTED, true);
  view.setUint32(offset + 4, STATUS_MAGIC, true);
}

/** `legacy`: no magic, so the peer speaks version 1 and its bytes are payload. */
export function decodeStatus({ view }: FrameMemory, offset: number): 'ok' | 'rejected' | 'legacy' {
  if (view.getUint32(offset + 4, true) !== STATUS_MAGIC) return 'legacy';
  return view.getUint32(offset, true) === STATUS_OK ? 'ok' : 'rejected';
}
