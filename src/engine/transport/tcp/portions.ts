/** How requests are cut, and how much of them the workers get ahead, under a download limit or without. */
import { chunkBytes } from '../rate-limiter.ts';
import { WINDOW_BYTES } from './tcp-peer.ts';

export interface Portions {
  readonly sliceBytes: number;
  /** For servers of version 1, which take a connection for each slice. */
  readonly sliceBytesVersion1: number;
  /** Bytes in flight on one connection. */
  readonly windowBytes: number;
}

/** Large enough that a slice costs nothing beside its bytes, small enough to spread one request over connections. */
export const SLICE_BYTES: number = 4 * 1024 * 1024;
/** Version 1 takes a connection for every request. */
const SLICE_BYTES_VERSION_1 = 64 * 1024 * 1024;
/** Under a download limit slices are asked for one by one, so that bytes come evenly. */
const LIMITED_SLICE_BYTES_MIN = 16 * 1024;
/** A server of version 1 takes a connection for each. */
const LIMITED_SLICE_BYTES_VERSION_1 = 1024 * 1024;
/** Time worth of the limit that waits in the workers for its turn, on each connection. */
const LIMITED_WINDOW_MS = 500;
const LIMITED_WINDOW_SLICES_MIN = 4;

/** @param maxBytesPerSecond - Undefined: no limit. */
export function portionsUnder(maxBytesPerSecond: number | undefined): Portions {
  if (maxBytesPerSecond === undefined) {
    return { sliceBytes: SLICE_BYTES, sliceBytesVersion1: SLICE_BYTES_VERSION_1, windowBytes: WINDOW_BYTES };
  }
  const sliceBytes = chunkBytes(maxBytesPerSecond, LIMITED_SLICE_BYTES_MIN, SLICE_BYTES);
  const wantedBytes = Math.max(LIMITED_WINDOW_SLICES_MIN * sliceBytes, (maxBytesPerSecond * LIMITED_WINDOW_MS) / 1000);
  return {
    sliceBytes,
    sliceBytesVersion1: Math.max(sliceBytes, LIMITED_SLICE_BYTES_VERSION_1),
    windowBytes: Math.min(WINDOW_BYTES, wantedBytes),
  };
}
