import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { EtcdOptions } from './etcd/etcd-address.ts';
import type { MetadataStore } from './metadata-store.ts';

export interface MetadataStoreOptions {
  /** Credentials and certificates; the URI's query and user part say the same. */
  readonly etcd?: EtcdOptions;
  readonly logger?: Logger;
  /** Moves the leases of `memory:` and `local:`; etcd has its own time. */
  readonly clock?: Clock;
}

/**
 * Opens the metadata store that a URI names. Code of the stores that are not used is not loaded.
 *
 * @param uri - `memory:` or `memory:name` (this process), `local:` or `local:/dir` (this machine),
 *   `etcd://h1:2379,h2:2379` or `etcds://...` for TLS; a bare `host:port`, or a comma list of them, means etcd;
 *   `redis://[user:password@]host:port[/database]` or `rediss://...`.
 * @throws P2P_INVALID_ARGUMENT The URI cannot be understood.
 * @throws P2P_UNSUPPORTED The URI is `http://...` or `P2PHANDSHAKE`, which serve transfer engines alone.
 * @throws P2P_METADATA_UNAVAILABLE The store cannot be reached.
 * @throws P2P_METADATA_DENIED It refuses the credentials.
 */
export async function openMetadataStore(uri: string, options: MetadataStoreOptions = {}): Promise<MetadataStore> {
  const { etcd, logger, clock } = options;
  if (/^memory:[\w.-]*$/.test(uri)) {
    const { InMemoryMetadataStore } = await import('./in-memory/in-memory-store.ts');
    return new InMemoryMetadataStore(uri, clock);
  }
  if (uri === 'local:' || uri.startsWith('local:/')) {
    const { EmbeddedMetadataStore } = await import('./embedded/embedded-store.ts');
    const { defaultDirectory } = await import('./embedded/directory.ts');
    const directory = uri === 'local:' ? defaultDirectory() : path.normalize(uri.slice('local:'.length));
    return EmbeddedMetadataStore.open(directory, { ...(logger && { logger }), ...(clock && { clock }) });
  }
  if (/^(?:memory|local):/.test(uri)) {
    throw new P2PStoreError(
      ErrorCode.InvalidArgument,
      `Cannot open metadata store "${uri}": it must be memory:, memory:name, local: or local:/directory`,
      { argument: 'metadataUri' },
    );
  }
  if (/^rediss?:\/\//.test(uri)) {
    const { parseRedisAddress } = await import('./redis/redis-address.ts');
    const address = parseRedisAddress(uri);
    const { RedisMetadataStore } = await import('./redis/redis-store.ts');
    return RedisMetadataStore.open(address, { ...(logger && { logger }) });
  }
  if (/^https?:\/\//.test(uri) || uri === 'P2PHANDSHAKE') {
    throw new P2PStoreError(
      ErrorCode.Unsupported,
      'Cannot open a metadata store: an HTTP service or P2PHANDSHAKE only lets transfer engines find each other; a store needs lists, leases and watches: etcd, redis or local',
      { feature: 'metadata by HTTP or P2PHANDSHAKE' },
    );
  }
  const { parseEtcdAddress } = await import('./etcd/etcd-address.ts');
  const address = parseEtcdAddress(uri, etcd);
  const { EtcdMetadataStore } = await import('./etcd/etcd-store.ts');
  return EtcdMetadataStore.open(address, { ...(logger && { logger }) });
}
