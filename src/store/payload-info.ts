import { type ObjectRecord, totalSizeBytes } from './records.ts';

/** What a receiver must know of an object to make room for it. */
export interface PayloadInfo {
  readonly name: string;
  /** Bytes, as given to `register`. */
  readonly maxShardSize: number;
  /** Bytes. */
  readonly totalSize: number;
  /** Bytes of each buffer as registered; a receiver may split the total otherwise. */
  readonly sizeList: readonly number[];
  /** Files in it, when it was registered as a folder. */
  readonly files?: number;
  /** Set when a Mooncake store registered it: there are no digests, and nobody can verify it. */
  readonly origin?: 'mooncake';
}

export function payloadInfo(name: string, object: ObjectRecord): PayloadInfo {
  return {
    name,
    maxShardSize: object.maxShardSizeBytes,
    totalSize: totalSizeBytes(object.sizes),
    sizeList: object.sizes,
    ...(object.folder && { files: object.folder.files }),
    ...(object.origin && { origin: object.origin }),
  };
}
