import type { DownloadResult } from '../swarm/download-types.ts';

/** What a pull has brought. */
export interface ReplicaResult extends DownloadResult {
  readonly name: string;
  /** Set when a Mooncake store registered the object: nothing vouches for the bytes. */
  readonly origin?: 'mooncake';
}

/** What a folder holds that was published. */
export interface FolderContent {
  readonly files: number;
  /** Bytes of the object: its files and the list of them. */
  readonly totalSize: number;
}

/** What the pull of a folder has brought. */
export interface FolderReplicaResult extends ReplicaResult {
  readonly files: number;
}
