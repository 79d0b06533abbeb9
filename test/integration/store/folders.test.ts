/** Folders as objects: what is published comes back, in one record, all or nothing. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import { countOpenRegions } from '../../../src/memory/memory-region.ts';
import { objectKey } from '../../../src/store/record-keys.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';
import { MIB, SHARD, TestStores } from '../../support/test-store.ts';

describe('folders', () => {
  let folder: TemporaryFolder;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const listed = async (): Promise<string[]> => (await fs.readdir(folder.path, { recursive: true })).sort();
  const expectSameFolders = (actual: string, expected = 'in'): void => {
    execFileSync('diff', ['-r', folder.file(expected), folder.file(actual)]);
  };

  async function write(name: string, bytes: number | string): Promise<void> {
    await fs.mkdir(path.dirname(folder.file(name)), { recursive: true });
    await fs.writeFile(folder.file(name), typeof bytes === 'string' ? bytes : randomBytes(bytes));
  }

  /** Small files in several folders, and large ones, one of which is a piece and a byte. */
  async function writeFolder(smallFiles: number): Promise<void> {
    for (let index = 0; index < smallFiles; index++) await write(`in/part ${index % 7}/f${index}`, (index * 37) % 3000);
    await write('in/large/a', 3 * MIB);
    await write('in/large/b', MIB + 1);
    await write('in/c', 256 * 1024);
    await fs.mkdir(folder.file('in/none/inside'), { recursive: true });
  }

  async function records(stores: TestStores): Promise<{ readonly keys: string[]; readonly bytes: number }> {
    const metadata = await stores.metadata();
    const { entries } = await metadata.list('p2pstore/');
    return { keys: entries.map(({ key }) => key), bytes: entries.reduce((sum, { value }) => sum + value.length, 0) };
  }

  test('2,000 small files and 3 large ones come back byte for byte, for one small record a receiver', async () => {
    await writeFolder(2_000);
    await using stores = new TestStores();
    const gold = await stores.open('gold');
    expect(await gold.registerFolder('x/', folder.file('in'))).toEqual({ files: 2_003, totalSize: expect.any(Number) });
    const receiver = await stores.open('receiver');
    const before = await records(stores);
    const progress: number[] = [];
    const result = await receiver.getReplicaToFolder('x/', folder.file('out'), {
      onProgress: ({ bytesDone }) => progress.push(bytesDone),
    });
    expectSameFolders('out');
    const [info] = await receiver.list('x/');
    expect(info).toMatchObject({ name: 'x/', files: 2_003, sizeList: { length: 5 } });
    expect(result).toMatchObject({ name: 'x/', files: 2_003, bytes: info?.totalSize });
    expect(progress.at(-1)).toBe(info?.totalSize);
    const after = await records(stores);
    expect(after.keys).toHaveLength(before.keys.length + 1);
    expect(after.bytes - before.bytes).toBeLessThan(1_000);
  });

  test('a second receiver gets it from the first when the publisher is gone', async () => {
    await writeFolder(50);
    await using stores = new TestStores();
    const gold = await stores.open('gold');
    await gold.registerFolder('x/', folder.file('in'), { verify: 'blake3' });
    const first = await stores.open('first');
    await first.getReplicaToFolder('x/', folder.file('one'));
    await gold.unregister('x/');
    await fs.rm(folder.file('one/part 0'), { recursive: true }); // it is served from memory
    const second = await stores.open('second');
    const { sources } = await second.getReplicaToFolder('x/', folder.file('two'));
    expect(sources).toMatchObject([{ segment: 'first', role: 'replica' }]);
    expectSameFolders('two');
    await expect(gold.getReplicaToFolder('x/', folder.file('two'))).resolves.toMatchObject({ files: 53 });
  });

  test.each([
    ['an empty folder', {}],
    ['one empty file', { a: 0 }],
    ['files without bytes in many folders', { a: 0, 'b/c': 0, 'b/d/e/f/g': 0 }],
    ['one large file', { a: MIB }],
  ] as const)('%s', async (_what, files) => {
    await fs.mkdir(folder.file('in'));
    for (const [name, bytes] of Object.entries(files)) await write(`in/${name}`, bytes);
    await using stores = new TestStores();
    const gold = await stores.open('gold');
    await gold.registerFolder('x/', folder.file('in'), { verify: 'none' });
    const receiver = await stores.open('receiver');
    await receiver.getReplicaToFolder('x/', folder.file('out'));
    expectSameFolders('out');
    await receiver.deleteReplica('x/');
    expectSameFolders('out');
  });

  test('replaces files of the same paths and keeps others', async () => {
    await writeFolder(20);
    await write('out/part 1/f1', 'old');
    await write('out/part 1/mine', 'mine');
    await write('out/large/a', 'old');
    await using stores = new TestStores();
    await (await stores.open('gold')).registerFolder('x/', folder.file('in'));
    await (await stores.open('receiver')).getReplicaToFolder('x/', folder.file('out'));
    expect(await fs.readFile(folder.file('out/part 1/mine'), 'utf8')).toBe('mine');
    await fs.rm(folder.file('out/part 1/mine'));
    expectSameFolders('out');
  });

  test('an abort in the middle leaves nothing: no file, no record, no memory', async () => {
    await writeFolder(200);
    await write('in/huge', 64 * MIB);
    await write('kept/part 1/f1', 'old');
    await using stores = new TestStores();
    await (await stores.open('gold')).registerFolder('x/', folder.file('in'));
    const receiver = await stores.open('receiver');
    const before = { files: await listed(), regions: countOpenRegions(), keys: await stores.keys() };
    for (const output of ['new/out', 'kept']) {
      const abort = new AbortController();
      const pulled = receiver.getReplicaToFolder('x/', folder.file(output), {
        signal: abort.signal,
        onProgress: () => abort.abort(new Error('enough')),
      });
      await expect(pulled).rejects.toThrow('enough');
    }
    expect({ files: await listed(), regions: countOpenRegions(), keys: await stores.keys() }).toEqual(before);
    await receiver.getReplicaToFolder('x/', folder.file('new/out'));
    expectSameFolders('new/out');
  });

  test('a publish that fails leaves nothing', async () => {
    await writeFolder(3);
    await fs.symlink('nowhere', folder.file('in/link'));
    await using stores = new TestStores();
    const gold = await stores.open('gold');
    const before = { regions: countOpenRegions(), keys: await stores.keys() };
    await expect(gold.registerFolder('x/', folder.file('in'))).rejects.toMatchObject({ code: 'P2P_FILE_FAILED' });
    await expect(gold.registerFolder('x', folder.file('in'))).rejects.toMatchObject({ code: 'P2P_INVALID_ARGUMENT' });
    expect({ regions: countOpenRegions(), keys: await stores.keys() }).toEqual(before);
  });

  test('an object that is no folder cannot be pulled as one', async () => {
    await using stores = new TestStores();
    await (await stores.open('gold')).register('x/', [Buffer.from('bytes')], [5], SHARD, '*');
    const receiver = await stores.open('receiver');
    await expect(receiver.getReplicaToFolder('x/', folder.file('out'))).rejects.toMatchObject({
      code: 'P2P_INVALID_ARGUMENT',
    });
    expect(await listed()).toEqual([]);
  });

  /** Publishes bytes as a folder, with a manifest that no store of ours would write. */
  async function publishRaw(stores: TestStores, bytes: Buffer, manifestDigest: string): Promise<void> {
    await (await stores.open('hostile')).register('x/', [bytes], [bytes.length], SHARD, '*', { verify: 'none' });
    const metadata = await stores.metadata();
    const entry = await metadata.get(objectKey('x/'));
    const record: unknown = JSON.parse(Buffer.from(entry?.value ?? []).toString());
    const folderRecord = { manifestBytes: bytes.length, manifestDigest, files: 1 };
    const value = Buffer.from(JSON.stringify({ ...(record as object), folder: folderRecord }));
    await metadata.commit([], [{ kind: 'put', key: objectKey('x/'), value }]);
  }

  test.each(['../evil', '/etc/evil', 'a/../../evil'])('a manifest that names %j writes nothing', async (evil) => {
    await using stores = new TestStores();
    const manifest = Buffer.from(JSON.stringify({ version: 1, packed: [[evil, 0]], mapped: [], emptyFolders: [] }));
    await publishRaw(stores, manifest, Buffer.from(digestBytes('xxh64', manifest)).toString('hex'));
    const receiver = await stores.open('receiver');
    const regions = countOpenRegions();
    await expect(receiver.getReplicaToFolder('x/', folder.file('a/out'))).rejects.toMatchObject({
      code: 'P2P_RECORD_INVALID',
    });
    expect(await listed()).toEqual([]);
    expect(countOpenRegions()).toBe(regions);
  });

  test('a manifest that is not the one of the record is not believed, and the deadline holds', async () => {
    await using stores = new TestStores();
    const manifest = Buffer.from(JSON.stringify({ version: 1, packed: [], mapped: [], emptyFolders: ['a'] }));
    await publishRaw(stores, manifest, '0123456789abcdef');
    const receiver = await stores.open('receiver');
    const keys = await stores.keys();
    const pulled = receiver.getReplicaToFolder('x/', folder.file('out'), { signal: AbortSignal.timeout(500) });
    await expect(pulled).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(await listed()).toEqual([]);
    expect(await stores.keys()).toEqual(keys);
  });
});
