import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LeaseKeeper } from '../../../src/metadata/lease-keeper.ts';
import type { MetadataStore } from '../../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { type Announcement, ObjectDirectory } from '../../../src/store/object-directory.ts';
import { ObjectReader } from '../../../src/store/object-reader.ts';
import { type ObjectEvent, ObjectWatches, watchObjects } from '../../../src/store/object-watch.ts';
import { freshMemoryUri } from '../../support/test-store.ts';

function announcement(name: string, generation: string): Announcement {
  const where = { peerEndpoint: 'h:1', addresses: [4_096], sizes: [8] };
  return {
    name,
    object: {
      version: 1,
      generation,
      sizes: [8],
      maxShardSizeBytes: 8,
      pieceSizeBytes: 8,
      digest: { algorithm: 'xxh64' },
    },
    source: { version: 1, generation, role: 'gold', isComplete: true, ...where },
  };
}

describe('ObjectWatches.find()', () => {
  let metadata: MetadataStore;
  let leaseKeeper: LeaseKeeper;
  let reader: ObjectReader;
  let directory: ObjectDirectory;
  let watches: ObjectWatches;
  let events: AsyncGenerator<ObjectEvent, void>;

  beforeEach(async () => {
    metadata = await openMetadataStore(freshMemoryUri());
    leaseKeeper = await LeaseKeeper.open(metadata, { ttlMs: 60_000 });
    reader = new ObjectReader(metadata, silentLogger);
    directory = new ObjectDirectory({ metadata, reader, leaseKeeper, segmentName: 'A', logger: silentLogger });
    watches = new ObjectWatches();
    await directory.announce(announcement('m/old', '1'));
    const { signal } = new AbortController();
    events = watchObjects({ metadata, reader, watches }, 'm/', { signal: undefined, closing: signal });
    expect(await events.next()).toMatchObject({ value: { kind: 'added', object: { name: 'm/old' } } });
  });
  afterEach(async () => {
    await events.return();
    await leaseKeeper[Symbol.asyncDispose]();
    await metadata.close();
  });

  test('has what the watch saw published, the same that the records say', async () => {
    await directory.announce(announcement('m/new', '2'));
    expect(await events.next()).toMatchObject({ value: { kind: 'added', object: { name: 'm/new' } } });
    expect(watches.find('m/new')).toEqual(await reader.find('m/new'));
    expect(watches.find('m/old')).toBeUndefined();
    expect(watches.find('m/none')).toBeUndefined();
  });

  test('has nothing once the object is gone, or the watch has ended', async () => {
    await directory.announce(announcement('m/new', '2'));
    await directory.announce(announcement('m/other', '3'));
    await events.next();
    await events.next();
    expect(watches.find('m/new')).toBeDefined();
    await directory.withdraw({ name: 'm/new', generation: '2', role: 'gold' });
    expect(await events.next()).toMatchObject({ value: { kind: 'removed', object: { name: 'm/new' } } });
    expect(watches.find('m/new')).toBeUndefined();
    expect(watches.find('m/other')).toBeDefined();
    await events.return();
    expect(watches.find('m/other')).toBeUndefined();
  });
});
