/** Which way a metadata option finds segments, and what has to be opened for it. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { HttpMetadataClient, isHttpUri } from '../metadata/http/http-metadata-client.ts';
import { LeaseKeeper } from '../metadata/lease-keeper.ts';
import type { MetadataStore } from '../metadata/metadata-store.ts';
import { openMetadataStore } from '../metadata/open-metadata-store.ts';
import type { Logger } from '../observability/logger.ts';
import type { SegmentListing } from './local-segment.ts';
import { HANDSHAKE_URI, HandshakeDirectory } from './mooncake/handshake-directory.ts';
import { HttpDirectory } from './mooncake/http-directory.ts';
import { SegmentDirectory } from './segment-directory.ts';
import type { SegmentRegistry } from './segment-registry.ts';

/** Mooncake's engines read the same variable. */
export const CLUSTER_ID_VARIABLE = 'MC_METADATA_CLUSTER_ID';

export type MetadataOption = string | { readonly store: MetadataStore; readonly leaseKeeper: LeaseKeeper };

export type MetadataAccess =
  | { readonly kind: 'store'; readonly store: MetadataStore; readonly leaseKeeper: LeaseKeeper }
  | { readonly kind: 'http'; readonly client: HttpMetadataClient }
  | { readonly kind: 'handshake' };

/** @param cleanups - Gets what closes everything that was opened here. */
export async function openMetadataAccess(
  metadata: MetadataOption,
  logger: Logger,
  cleanups: (() => Promise<void>)[],
): Promise<MetadataAccess> {
  if (typeof metadata !== 'string') return { kind: 'store', ...metadata };
  if (metadata === HANDSHAKE_URI) return { kind: 'handshake' };
  if (isHttpUri(metadata)) return { kind: 'http', client: new HttpMetadataClient(metadata) };
  const store = await openMetadataStore(metadata, { logger });
  cleanups.push(() => store.close());
  const leaseKeeper = await LeaseKeeper.open(store, { logger });
  cleanups.push(() => leaseKeeper.close());
  return { kind: 'store', store, leaseKeeper };
}

/** @throws P2P_SEGMENT_IN_USE A live engine goes by that name. */
export async function openRegistry(
  access: MetadataAccess,
  listing: SegmentListing,
  { clusterId = process.env[CLUSTER_ID_VARIABLE], logger }: { readonly clusterId: string | undefined; logger: Logger },
): Promise<SegmentRegistry> {
  if (clusterId !== undefined && !/^[\w.\-/]{0,128}$/.test(clusterId)) {
    throw new P2PStoreError(
      ErrorCode.InvalidArgument,
      'Cannot use the metadata cluster id: it may hold letters, digits and . _ - /, at most 128 of them',
      { argument: 'metadataClusterId' },
    );
  }
  switch (access.kind) {
    case 'handshake':
      return new HandshakeDirectory(listing);
    case 'http':
      return HttpDirectory.open({ ...listing, client: access.client, clusterId, logger });
    case 'store': {
      const { store: metadata, leaseKeeper } = access;
      return SegmentDirectory.open({ ...listing, metadata, leaseKeeper, clusterId, logger });
    }
  }
}
