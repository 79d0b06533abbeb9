import type { Clock } from '../core/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { Digester } from './digester.ts';
import type { DownloadOptions } from './download-options.ts';
import type { DownloadProgress } from './download-types.ts';
import type { PeerClient } from './peer-client.ts';
import type { PieceEngine } from './piece-fetch.ts';
import type { SharedObject } from './shared-object.ts';
import type { SourceFeed } from './source-feed.ts';
import type { SwarmActivity } from './swarm-activity.ts';

/** What a download needs. */
export interface DownloadInput {
  /** A replica without pieces; its memory is the target and must be registered with the engine. */
  readonly object: SharedObject;
  readonly engine: PieceEngine;
  readonly digester: Digester;
  readonly sources: SourceFeed;
  /** false: takes every piece as it comes, and cannot tell others its digests. */
  readonly verify: boolean;
  /** Share one among downloads; without it the download opens and closes its own. */
  readonly client?: PeerClient | undefined;
  /** The root as the object's record holds it now, in hex; a source that is not gold is believed by it. */
  readonly digestRoot?: (() => string | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** When to end what a download that succeeded does not need any more, such as its streams. Default: at once. */
  readonly later?: ((work: () => void) => void) | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Of the store that downloads; without it nobody counts. */
  readonly activity?: SwarmActivity | undefined;
  readonly logger?: Logger | undefined;
  readonly clock?: Clock;
  readonly options?: DownloadOptions;
}
