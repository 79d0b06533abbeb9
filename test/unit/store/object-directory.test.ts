import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { LeaseKeeper } from '../../../src/metadata/lease-keeper.ts';
import type { MetadataStore } from '../../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { type Announcement, ObjectDirectory } from '../../../src/store/object-directory.ts';
import { ObjectReader } from '../../../src/store/object-reader.ts';
import { objectKey, sourceKey } from '../../../src/store/record-keys.ts';
import { encodeObjectRecord, type ObjectRecord } from '../../../src/store/records.ts';

let uriCount = 0;
let metadata: MetadataStore;
let reader: ObjectReader;
let opened: AsyncDisposable[];

beforeEach(async () => {
  uriCount += 1;
  metadata = await openMetadataStore(`memory:object-directory-${uriCount}`);
  opened = [metadata];
  reader = new ObjectReader(metadata, silentLogger);
});

afterEach(async () => {
  for (const each of opened.toReversed()) await each[Symbol.asyncDispose]();
});

interface Writer {
  readonly directory: ObjectDirectory;
  /** Ends its lease, as after a crash. */
  die(): Promise<void>;
}

async function openWriter(segmentName: string): Promise<Writer> {
  const leaseKeeper = await LeaseKeeper.open(metadata, { ttlMs: 60_000 });
  opened.push(leaseKeeper);
  return {
    directory: new ObjectDirectory({ metadata, reader, leaseKeeper, segmentName, logger: silentLogger }),
    die: () => metadata.revokeLease(leaseKeeper.leaseId),
  };
}

function announcement(generation: string, role: 'gold' | 'replica' = 'gold', root?: string): Announcement {
  const object: ObjectRecord = {
    version: 1,
    generation,
    sizes: [8],
    maxShardSizeBytes: 8,
    pieceSizeBytes: 8,
    digest: root === undefined ? { algorithm: 'xxh64' } : { algorithm: 'xxh64', root },
  };
  const source = { generation, role, isComplete: true, peerEndpoint: 'h:1', addresses: [4_096], sizes: [8] };
  return { name: 'a/b', object, source: { version: 1, ...source } };
}

async function liveGeneration(): Promise<string | undefined> {
  return (await reader.find('a/b'))?.object.generation;
}

async function keys(): Promise<string[]> {
  return (await metadata.list('p2pstore/')).entries.map(({ key }) => key);
}

describe('announce', () => {
  test('lists object and source', async () => {
    const { directory } = await openWriter('A');
    await directory.announce(announcement('1'));
    const found = await reader.find('a/b');
    expect(found?.sources.map(({ segment }) => segment)).toEqual(['A']);
    expect(await reader.list('')).toMatchObject([{ name: 'a/b', object: { generation: '1' } }]);
  });

  test('is refused over a live object, and changes nothing', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    const before = await metadata.list('');
    await expect(b.directory.announce(announcement('2'))).rejects.toMatchObject({ code: ErrorCode.ObjectExists });
    expect((await metadata.list('')).entries).toEqual(before.entries);
  });

  test('leaves exactly one of many that come at once', async () => {
    const writers = await Promise.all(['A', 'B', 'C', 'D'].map(openWriter));
    const results = await Promise.allSettled(
      writers.map(({ directory }, index) => directory.announce(announcement(`${index}`))),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await keys()).toHaveLength(2);
  });

  test('goes over an object whose sources have all died', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    await a.die();
    await b.directory.announce(announcement('2'));
    expect(await liveGeneration()).toBe('2');
  });

  test('by force takes the name, and the others off the list', async () => {
    const [a, b, c] = [await openWriter('A'), await openWriter('B'), await openWriter('C')];
    await a.directory.announce(announcement('1'));
    await b.directory.putSource(announcement('1', 'replica'));
    await c.directory.announce(announcement('2'), { force: true });
    expect(await keys()).toEqual([objectKey('a/b'), sourceKey('a/b', 'C', 'gold')]);
    expect(await liveGeneration()).toBe('2');
  });

  test('by force from many at once leaves one object with one source', async () => {
    const writers = await Promise.all(['A', 'B', 'C'].map(openWriter));
    await Promise.all(
      writers.map(({ directory }, index) => directory.announce(announcement(`${index}`), { force: true })),
    );
    const found = await reader.find('a/b');
    expect(found?.sources).toHaveLength(1);
    expect(await keys()).toHaveLength(2);
  });
});

describe('putSource', () => {
  test('adds a source beside the object of the same generation', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    await b.directory.putSource(announcement('1', 'replica'));
    expect((await reader.find('a/b'))?.sources.map(({ segment }) => segment)).toEqual(['A', 'B']);
  });

  test('is refused when the object is gone or another', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await expect(b.directory.putSource(announcement('1', 'replica'))).rejects.toMatchObject({
      code: ErrorCode.ObjectNotFound,
    });
    await a.directory.announce(announcement('2'));
    await expect(b.directory.putSource(announcement('1', 'replica'))).rejects.toMatchObject({
      code: ErrorCode.ObjectSuperseded,
    });
    expect(await keys()).toHaveLength(2);
  });

  test('completes the digest root, and never takes it away', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    await a.directory.putSource(announcement('1', 'gold', 'aa'));
    await b.directory.putSource(announcement('1', 'replica'));
    expect((await reader.find('a/b'))?.object.digest.root).toBe('aa');
  });

  test('of many at once all get in', async () => {
    const gold = await openWriter('A');
    await gold.directory.announce(announcement('1'));
    const writers = await Promise.all(['B', 'C', 'D', 'E', 'F'].map(openWriter));
    await Promise.all([
      gold.directory.putSource(announcement('1', 'gold', 'aa')),
      ...writers.map(({ directory }) => directory.putSource(announcement('1', 'replica'))),
    ]);
    expect((await reader.find('a/b'))?.sources).toHaveLength(6);
  });
});

const gold = { name: 'a/b', generation: '1', role: 'gold' } as const;

describe('withdraw', () => {
  test('of the last source deletes the object', async () => {
    const { directory } = await openWriter('A');
    await directory.announce(announcement('1'));
    await directory.withdraw(gold);
    await directory.withdraw(gold);
    expect(await keys()).toEqual([]);
  });

  test('of the gold leaves the replicas and the object', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    await b.directory.putSource(announcement('1', 'replica'));
    await a.directory.withdraw(gold);
    expect((await reader.find('a/b'))?.sources.map(({ segment }) => segment)).toEqual(['B']);
  });

  test("touches nothing of another generation, nor another store's gold", async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await b.directory.announce(announcement('2'));
    await a.directory.withdraw(gold);
    await b.directory.withdraw(gold);
    expect(await liveGeneration()).toBe('2');
  });

  test('of all sources at once leaves nothing', async () => {
    const writers = await Promise.all(['A', 'B', 'C', 'D'].map(openWriter));
    await writers[0]?.directory.announce(announcement('1'));
    for (const { directory } of writers.slice(1)) await directory.putSource(announcement('1', 'replica'));
    const roles = ['gold', 'replica', 'replica', 'replica'] as const;
    await Promise.all(
      writers.map(({ directory }, at) => directory.withdraw({ ...gold, role: roles[at] ?? 'replica' })),
    );
    expect(await keys()).toEqual([]);
  });
});

describe('relist', () => {
  test('puts back both records when the object is gone', async () => {
    const { directory } = await openWriter('A');
    expect(await directory.relist(announcement('1'))).toBe('listed');
    expect(await liveGeneration()).toBe('1');
  });

  test('puts the source beside the object that another source kept', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await a.directory.announce(announcement('1'));
    expect(await b.directory.relist(announcement('1', 'replica'))).toBe('listed');
    expect((await reader.find('a/b'))?.sources).toHaveLength(2);
  });

  test('of all its sources at once after a common loss brings all back', async () => {
    const writers = await Promise.all(['A', 'B', 'C'].map(openWriter));
    const outcomes = await Promise.all(writers.map(({ directory }) => directory.relist(announcement('1'))));
    expect(outcomes).toEqual(['listed', 'listed', 'listed']);
    expect((await reader.find('a/b'))?.sources).toHaveLength(3);
  });

  test('never writes over another live object', async () => {
    const [a, b] = [await openWriter('A'), await openWriter('B')];
    await b.directory.announce(announcement('2'));
    expect(await a.directory.relist(announcement('1'))).toBe('superseded');
    expect(await keys()).toEqual([objectKey('a/b'), sourceKey('a/b', 'B', 'gold')]);
  });
});

describe('ObjectReader', () => {
  test('list shows no object without a source, and deletes its record', async () => {
    const { directory, die } = await openWriter('A');
    await directory.announce(announcement('1'));
    await die();
    expect(await reader.find('a/b')).toBeUndefined();
    expect(await keys()).toHaveLength(1);
    expect(await reader.list('')).toEqual([]);
    expect(await keys()).toEqual([]);
  });

  test('list goes by prefix and sorts by name', async () => {
    const { directory } = await openWriter('A');
    for (const name of ['b', 'a/2', 'a~', 'a', 'a/1']) await directory.announce({ ...announcement('1'), name });
    const names = async (prefix: string): Promise<string[]> => (await reader.list(prefix)).map(({ name }) => name);
    expect(await names('')).toEqual(['a', 'a/1', 'a/2', 'a~', 'b']);
    expect(await names('a/')).toEqual(['a/1', 'a/2']);
    expect(await names('a~')).toEqual(['a~']);
  });

  test('a bad record hurts nobody else', async () => {
    const { directory } = await openWriter('A');
    await directory.announce({ ...announcement('1'), name: 'good' });
    const bad = Buffer.from('{"version":1,"generation":7}');
    const put = (key: string): Promise<unknown> => metadata.commit([], [{ kind: 'put', key, value: bad }]);
    await put(objectKey('bad'));
    await put(sourceKey('bad', 'B', 'gold'));
    await put(sourceKey('good', 'B', 'gold'));
    expect((await reader.list('')).map(({ name }) => name)).toEqual(['good']);
    expect((await reader.find('good'))?.sources.map(({ segment }) => segment)).toEqual(['A']);
    await expect(reader.find('bad')).rejects.toMatchObject({ code: ErrorCode.RecordInvalid });
  });

  test('an object record without any source of its generation is not live', async () => {
    const { directory } = await openWriter('A');
    await directory.announce(announcement('1'));
    const value = encodeObjectRecord('', announcement('2').object);
    await metadata.commit([], [{ kind: 'put', key: objectKey('a/b'), value }]);
    expect(await reader.find('a/b')).toBeUndefined();
  });
});
