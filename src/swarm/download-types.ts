/** What a download tells its caller. */

export interface DownloadSource {
  readonly segment: string;
  readonly role: 'gold' | 'replica';
  /** Verified bytes that came from it. */
  readonly bytes: number;
}

export interface DownloadProgress {
  /** Verified bytes. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Over about the last second. */
  readonly bytesPerSecond: number;
  /** Set for an object of a Mooncake store: there are no digests, so `bytesDone` counts what has come, not what was verified. */
  readonly origin?: 'mooncake';
  readonly sources: readonly (DownloadSource & { readonly bytesPerSecond: number })[];
}

export interface DownloadResult {
  readonly bytes: number;
  readonly seconds: number;
  /** Mean over the whole download. */
  readonly bytesPerSecond: number;
  /** By what every piece was verified. */
  readonly verified: 'xxh64' | 'blake3' | 'none';
  readonly sources: readonly DownloadSource[];
}
