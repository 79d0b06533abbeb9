import type { ListedBuffer } from './local-segment.ts';
import type { Segment } from './segment.ts';

/** Lists the own segment where others look for it, and finds theirs. */
export interface SegmentRegistry {
  /** Lists a buffer; resolves when others can read so. */
  add(buffer: ListedBuffer): Promise<void>;

  /** Takes a buffer out; resolves when others can read so. */
  remove(address: number, isListed: boolean): Promise<void>;

  /** The own descriptor as it is now, as Mooncake's engines read it. */
  describe(): string;

  /** @throws P2P_SEGMENT_NOT_FOUND, P2P_RECORD_INVALID, and what asking for it may throw. */
  resolve(segmentName: string, signal?: AbortSignal): Promise<Segment>;

  /** Takes the segment off the list, best effort. */
  close(): Promise<void>;
}
