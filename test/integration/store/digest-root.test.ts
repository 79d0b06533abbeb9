import { describe, expect, test } from 'vitest';
import { LeaseKeeper } from '../../../src/metadata/lease-keeper.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { ObjectDirectory } from '../../../src/store/object-directory.ts';
import { ObjectReader } from '../../../src/store/object-reader.ts';
import type { ObjectRecord } from '../../../src/store/records.ts';
import { PeerService } from '../../../src/swarm/peer-service.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import { eventually } from '../../support/eventually.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';
import { TestStores } from '../../support/test-store.ts';

const layout = layoutOf(4 * pieceSizeBytes);

describe('getReplica', () => {
  test('writes the digest root when the gold source has told all digests, but cannot write it', async () => {
    await using stores = new TestStores();
    const b = await stores.open('B');
    const metadata = await stores.metadata();
    const reader = new ObjectReader(metadata, silentLogger);
    // A gold source with no data port and nobody who writes its root: what is left of one that is dying.
    await using peers = await PeerService.open({ host: '127.0.0.1' });
    const ranges = [{ address: 4_096, lengthBytes: layout.totalSize, access: 'guarded' as const }];
    const gold = new SharedObject({ layout, role: 'gold', ranges });
    peers.share(gold);
    const { name, generation, sizeList: sizes, maxShardSize: maxShardSizeBytes } = layout;
    const digest = { algorithm: 'xxh64' } as const;
    const object: ObjectRecord = { version: 1, generation, sizes, maxShardSizeBytes, pieceSizeBytes, digest };
    const source = { peerEndpoint: peers.endpoint, addresses: [4_096], sizes, isComplete: true };
    await using leaseKeeper = await LeaseKeeper.open(metadata, { ttlMs: 60_000 });
    await new ObjectDirectory({ metadata, reader, leaseKeeper, segmentName: 'G', logger: silentLogger }).announce({
      name,
      object,
      source: { version: 1, generation, role: 'gold', ...source },
    });

    const stop = new AbortController();
    const pull = b.getReplica(name, [Buffer.alloc(layout.totalSize)], [layout.totalSize], { signal: stop.signal });
    pull.catch(() => {});
    await eventually('a follower', async () => (await b.status(name)).sources.some(({ followers }) => followers > 0));
    for (let piece = 0; piece < gold.pieces; piece += 1)
      gold.setDigest(
        piece,
        Uint8Array.from({ length: 8 }, () => piece),
      );
    const found = await eventually('the root', async () => {
      const now = await reader.find(name);
      return now?.object.digest.root === undefined ? undefined : now;
    });
    expect(found.object).toEqual({ ...object, digest: { algorithm: 'xxh64', root: gold.rootHex } });
    expect(found.sources.find(({ segment }) => segment === 'B')?.source.isComplete).toBe(false);
    stop.abort(new Error('enough'));
    await expect(pull).rejects.toThrow('enough');
  });
});
