/** How an object is cut: its buffers, its pieces, and by what each piece is verified. */
import { KIB, MIB } from '../core/units.ts';

export type DigestChoice = 'xxh64' | 'blake3' | 'none';

/** What every source of one object agrees on. Written once by the store that registers it. */
export interface ObjectLayout {
  readonly name: string;
  /** 128 random bits in hex: tells this registration from any other under the same name. */
  readonly generation: string;
  /** Sizes of the registered buffers, in bytes. A receiver may split the same total otherwise. */
  readonly sizeList: readonly number[];
  /** Sum of {@link sizeList}, in bytes. */
  readonly totalSize: number;
  /** Largest shard in Mooncake's records, in bytes; a power of two. */
  readonly maxShardSize: number;
  /** A power of two, at most {@link maxShardSize}. */
  readonly pieceSizeBytes: number;
  readonly digestAlgorithm: DigestChoice;
  /** Digest over the concatenated piece digests, in hex; absent until the gold source knows it. */
  readonly digestRoot?: string;
}

/** The unit of transfer and verification: logical bytes `[offset, offset + lengthBytes)`. */
export interface Piece {
  readonly index: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

const pieceSizeBytesMin: number = 256 * KIB;
const pieceSizeBytesMax: number = 16 * MIB;
/** Receivers that an object is cut for when nobody says how many there will be. */
const receiversExpected = 64;
/**
 * Processor time of a verified piece, its bytes aside, both sides together: messages and system calls. Measured over
 * loopback, as the difference between pieces of 1 MiB and of 16 MiB.
 */
const pieceSeconds = 0.4e-3;
/** What a piece costs at least, in bytes: 1 ms of 100 Mbit/s. Also where nobody knows the speed of the link. */
const pieceCostBytesMin: number = 12 * KIB;

export interface PieceSizeChoice {
  readonly totalSize: number;
  readonly maxShardSize: number;
  /** How many stores are expected to pull the object at the same time. Default 64. */
  readonly receivers?: number | undefined;
  /** What the source can send. Undefined: nobody knows. */
  readonly uplinkBytesPerSecond?: number | undefined;
}

/**
 * Chooses the piece size of an object.
 *
 * N receivers need at least `M + log2 N` piece times for M pieces, so more pieces mean less time lost to the start and the
 * end; each piece also costs some time of its own, in which the link could have carried c bytes, which speaks for fewer. The
 * sum is least for `M = sqrt(size * log2 N / c)`. Above 16 MiB nothing gets cheaper, and a piece fetched again costs more.
 *
 * @returns A power of two in [256 KiB, 16 MiB], but never above `maxShardSize`.
 */
export function choosePieceSizeBytes({
  totalSize,
  maxShardSize,
  receivers = receiversExpected,
  uplinkBytesPerSecond = 0,
}: PieceSizeChoice): number {
  const doublings = Math.log2(Math.max(receivers, 2));
  const pieceCostBytes = Math.max(pieceCostBytesMin, pieceSeconds * uplinkBytesPerSecond);
  const pieces = Math.sqrt((totalSize * doublings) / pieceCostBytes);
  const wanted = 2 ** Math.round(Math.log2(Math.max(totalSize / Math.max(pieces, 1), 1)));
  return Math.min(Math.max(wanted, pieceSizeBytesMin), pieceSizeBytesMax, maxShardSize);
}

/** Number of pieces; 0 for an object without bytes. */
export function pieceCount(layout: Pick<ObjectLayout, 'totalSize' | 'pieceSizeBytes'>): number {
  return Math.ceil(layout.totalSize / layout.pieceSizeBytes);
}

/** @param index - In [0, {@link pieceCount}). */
export function pieceAt(layout: Pick<ObjectLayout, 'totalSize' | 'pieceSizeBytes'>, index: number): Piece {
  const offset = index * layout.pieceSizeBytes;
  return { index, offset, lengthBytes: Math.min(layout.pieceSizeBytes, layout.totalSize - offset) };
}

/** All pieces in order. */
export function piecesOf(layout: Pick<ObjectLayout, 'totalSize' | 'pieceSizeBytes'>): Piece[] {
  return Array.from({ length: pieceCount(layout) }, (_, index) => pieceAt(layout, index));
}
