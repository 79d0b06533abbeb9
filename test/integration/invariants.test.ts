/** The ten promises of docs/ARCHITECTURE.md, each by its name. */
import fs from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../src/core/errors.ts';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { allocate, countOpenRegions } from '../../src/memory/memory-region.ts';
import { objectKey, sourceKey } from '../../src/store/record-keys.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { publishedBytes, startPublisher } from '../support/publisher.ts';
import { expectSameBytes, fillBytes, freshMemoryUri, MIB, SHARD, TestStores } from '../support/test-store.ts';

const code = (value: string): object => expect.objectContaining({ code: value });

let etcd: EtcdCluster;

beforeAll(async () => {
  etcd = await startEtcd();
});

afterAll(() => etcd[Symbol.asyncDispose]());

describe('1. Right bytes or an error', () => {
  test('a relay whose memory went bad costs nobody a wrong byte', async () => {
    await using stores = new TestStores();
    const tcp = { transports: ['tcp'] } as const; // as fast as between machines, not as between threads
    const [a, b, c] = [await stores.open('A', tcp), await stores.open('B', tcp), await stores.open('C', tcp)];
    const data = fillBytes(16 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*', { pieceSize: MIB });
    const relay = Buffer.alloc(data.length);
    await b.getReplica('x', [relay], [relay.length]);
    for (let at = 5; at < relay.length; at += MIB) relay[at] = (relay[at] ?? 0) ^ 1; // one bit in every piece
    const target = Buffer.alloc(data.length);
    const result = await c.getReplica('x', [target], [target.length]);
    expectSameBytes(target, data);
    // Not always A alone: on a slow machine both are asked for a piece, and the first of two writers counts as its source.
    expect(result.sources.filter(({ bytes }) => bytes > 0).map(({ segment }) => segment)).toContain('A');
  });

  test('memory that its owner changed is named as such', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(4 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*', { pieceSize: MIB });
    await untilDigested(stores, 'x');
    data[2 * MIB + 1] = (data[2 * MIB + 1] ?? 0) ^ 1;
    const target = Buffer.alloc(data.length);
    await expect(b.getReplica('x', [target], [target.length])).rejects.toMatchObject({
      code: ErrorCode.MemoryChanged,
      context: { name: 'x', pieceIndex: 2, segment: 'A' },
    });
  });

  test('a complete replica gives the bytes that its gold source no longer has', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(4 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*');
    const replica = Buffer.alloc(data.length);
    await b.getReplica('x', [replica], [replica.length]);
    data.fill(0);
    const target = Buffer.alloc(data.length);
    await c.getReplica('x', [target], [target.length]);
    expectSameBytes(target, replica);
  });

  test('a published file that is truncated is an error, and no wrong byte', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const path = `/tmp/p2pstore-test-truncated-${process.pid}`;
    await fs.writeFile(path, fillBytes(4 * MIB));
    await a.registerFile('f', path);
    await fs.truncate(path, MIB);
    await fs.unlink(path);
    const target = Buffer.alloc(4 * MIB);
    const error = await b.getReplica('f', [target], [target.length]).catch((reason: unknown) => reason);
    expect(isP2PStoreError(error)).toBe(true);
    expect(error).toMatchObject({ code: expect.stringMatching(/MEMORY_FAULT|MEMORY_CHANGED|NO_SOURCE/) });
  });
});

describe('2. Settled means quiet', () => {
  test.each([
    ['an abort', () => AbortSignal.timeout(60_000), true],
    ['a deadline', () => AbortSignal.timeout(30), false],
  ])('after %s nothing writes to the memory of the caller', async (_what, makeSignal, isAborted) => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(48 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*', { verify: 'none' });
    const target = Buffer.alloc(data.length);
    const cancel = new AbortController();
    const signal = AbortSignal.any([cancel.signal, makeSignal()]);
    const pull = b.getReplica('x', [target], [target.length], {
      signal,
      onProgress: () => {
        if (isAborted) cancel.abort(new Error('enough'));
      },
    });
    await pull.catch(() => {}); // it may have been faster
    target.fill(7);
    const other = Buffer.alloc(data.length);
    await c.getReplica('x', [other], [other.length]); // as long as what was cut off would have taken
    expectSameBytes(target, Buffer.alloc(target.length, 7));
  });
});

describe('3. Listed means verified', () => {
  test('a replica does not offer a piece that came out wrong, nor itself as complete', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const data = fillBytes(8 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*', { pieceSize: MIB });
    await untilDigested(stores, 'x');
    data[0] = (data[0] ?? 0) ^ 1;
    let isOver = false;
    const pull = b.getReplica('x', [Buffer.alloc(data.length)], [data.length]).finally(() => {
      isOver = true;
    });
    pull.catch(() => {});
    await eventually(
      'the pull to end',
      async () => {
        const { sources } = await c.status('x');
        const replica = sources.find(({ segment }) => segment === 'B');
        if (replica !== undefined) {
          expect(replica.isComplete).toBe(false);
          expect(replica.verifiedPieces).toBeLessThan(8);
        }
        return isOver;
      },
      { deadlineMs: 30_000 },
    );
    await expect(pull).rejects.toEqual(code(ErrorCode.MemoryChanged));
    expect((await c.sources('x')).map(({ segment }) => segment)).toEqual(['A']);
  });
});

describe('4. Dead means gone', () => {
  const publisher = { segment: 'dead', leaseTtlMs: 2_000, name: 'x', sizeBytes: MIB };

  test('the objects of a killed process vanish within its lease', async () => {
    await using stores = new TestStores(etcd.uri);
    const store = await stores.open('A');
    await using child = await startPublisher({ ...publisher, uri: etcd.uri });
    expect(await store.list('x')).toHaveLength(1);
    await child.kill();
    await eventually('the object to vanish', async () => (await store.list('x')).length === 0, { deadlineMs: 6_000 });
    expect(await stores.keys('p2pstore/')).toEqual([]);
    await store.register('x', [fillBytes(64)], [64], SHARD, '*');
  });

  test('a process that was paused lists itself again', async () => {
    await using stores = new TestStores(etcd.uri);
    const store = await stores.open('A');
    await using child = await startPublisher({ ...publisher, uri: etcd.uri });
    child.freeze();
    await eventually('the object to vanish', async () => (await store.list('x')).length === 0);
    child.thaw();
    await eventually('the object to be back', async () => (await store.list('x')).length === 1);
    const target = Buffer.alloc(MIB);
    await store.getReplica('x', [target], [MIB]);
    expectSameBytes(target, publishedBytes(MIB));
    await store.deleteReplica('x');
    await child.kill();
    await eventually('the object to vanish', async () => (await store.list('x')).length === 0);
  });

  test('a process that was paused learns that it lost its name, and overwrites nothing', async () => {
    await using stores = new TestStores(etcd.uri);
    const store = await stores.open('A');
    await using child = await startPublisher({ ...publisher, uri: etcd.uri });
    child.freeze();
    await eventually('the object to vanish', async () => (await store.list('x')).length === 0);
    const data = fillBytes(64);
    await store.register('x', [data], [64], SHARD, '*');
    child.thaw();
    await child.line('warn another object took the name');
    expect((await store.sources('x')).map(({ segment }) => segment)).toEqual(['A']);
    expect(await store.list('x')).toMatchObject([{ totalSize: 64 }]);
  });
});

describe('5. Bounded time', () => {
  const sizeBytes = 32 * MIB;

  test('a source that stops answering costs seconds, not the transfer', async () => {
    await using stores = new TestStores(etcd.uri);
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const source = { uri: etcd.uri, segment: 'frozen', leaseTtlMs: 60_000, name: 'y', sizeBytes };
    await using child = await startPublisher(source);
    await a.getReplica('y', [Buffer.alloc(sizeBytes)], [sizeBytes]);
    const target = Buffer.alloc(sizeBytes);
    const pull = b.getReplica('y', [target], [sizeBytes], { onProgress: () => child.freeze() });
    child.freeze();
    const { sources } = await pull;
    expectSameBytes(target, publishedBytes(sizeBytes));
    expect(sources.map(({ segment }) => segment)).toContain('A');
    child.thaw();
  });

  test('every call ends with its deadline, whoever is silent', async () => {
    await using stores = new TestStores(etcd.uri);
    const store = await stores.open('A');
    const source = { uri: etcd.uri, segment: 'silent', leaseTtlMs: 60_000, name: 'z', sizeBytes };
    await using child = await startPublisher(source);
    child.freeze();
    const target = Buffer.alloc(sizeBytes);
    const startedMs = performance.now();
    await expect(
      store.getReplica('z', [target], [sizeBytes], { signal: AbortSignal.timeout(500) }),
    ).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    target.fill(7);
    child.thaw();
    await store.getReplica('z', [Buffer.alloc(sizeBytes)], [sizeBytes]);
    expectSameBytes(target, Buffer.alloc(sizeBytes, 7));
    etcd.member.freeze();
    try {
      const signal = (): AbortSignal => AbortSignal.timeout(300);
      const calls = [
        store.list('', { signal: signal() }),
        store.sources('z', { signal: signal() }),
        store.register('w', [fillBytes(8)], [8], SHARD, '*', { signal: signal() }),
        store.getReplica('v', [fillBytes(8)], [8], { signal: signal() }),
        store.deleteReplica('z', { signal: signal() }),
      ];
      const frozenMs = performance.now();
      for (const result of await Promise.allSettled(calls)) {
        expect(result).toMatchObject({ status: 'rejected', reason: { name: 'TimeoutError' } });
      }
      expect(performance.now() - frozenMs).toBeLessThan(8_000); // a call without a deadline: 10 s
    } finally {
      etcd.member.thaw();
    }
  });
});

describe('6. Own memory only', () => {
  test('a peer reads what is registered and nothing beside it, and writes nowhere', async () => {
    await using stores = new TestStores();
    const store = await stores.open('A');
    const page = 4_096;
    await using region = allocate(3 * page);
    const start = Number(region.address);
    await store.register('x', [region.address + BigInt(page)], [page], SHARD, '*');
    region.view().fill(1);
    const stranger = await openStranger(stores);
    await using _ = stranger;
    expect(await stranger.attempt('read', start + page, page)).toBe('COMPLETED');
    for (const [address, length] of [
      [start, page],
      [start + page - 1, page],
      [start + page + 1, page],
      [start + 2 * page, 1],
    ] as const) {
      expect(await stranger.attempt('read', address, length)).toBe('FAILED');
    }
    expect(await stranger.attempt('write', start + page, page)).toBe('FAILED');
    expect(region.view().every((byte) => byte === 1)).toBe(true);
  });
});

describe('7. Unregistered means untouched', () => {
  test('memory may be unmapped once unregister or deleteReplica has resolved, also in the middle of a pull', async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const size = 48 * MIB;
    const gold = allocate(size);
    gold.view().fill(3);
    await a.register('x', [gold], [size], SHARD, '*');
    const replica = allocate(size);
    await b.getReplica('x', [replica], [size]);
    const target = Buffer.alloc(size);
    const pull = c.getReplica('x', [target], [size]).catch((error: unknown) => error);
    const stranger = await openStranger(stores);
    await using _ = stranger;
    await Promise.all([a.unregister('x'), b.deleteReplica('x')]);
    const addresses = [gold, replica].map(({ address }) => Number(address));
    for (const address of addresses) expect(await stranger.attempt('read', address, 8)).toBe('FAILED');
    await Promise.all([gold.close(), replica.close()]); // whoever still reads ends the process
    const outcome = await pull;
    if (outcome instanceof Error) expect(outcome).toEqual(code(ErrorCode.NoSource));
    else expectSameBytes(target, Buffer.alloc(size, 3));
  });
});

describe('8. No litter', () => {
  test('failed and aborted calls leave no record, registration, name or mapping', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(16 * MIB);
    await a.register('x', [data], [data.length], SHARD, '*');
    await untilDigested(stores, 'x');
    const before = { keys: await stores.keys(), regions: countOpenRegions() };
    const target = Buffer.alloc(data.length);
    await expect(b.register('x', [target], [64], SHARD, '*')).rejects.toEqual(code(ErrorCode.ObjectExists));
    for (let round = 0; round < 5; round++) {
      const cancel = new AbortController();
      const pull = b.getReplica('x', [target], [target.length], { signal: cancel.signal });
      const push = b.register('y', [fillBytes(64)], [64], SHARD, '*', { signal: cancel.signal });
      for (let turn = 0; turn < round * 4; turn++) await new Promise(setImmediate);
      cancel.abort(new Error('enough'));
      await Promise.allSettled([pull, push]);
      await Promise.allSettled([b.unregister('y'), b.deleteReplica('x')]); // they may have been faster
    }
    expect(await stores.keys()).toEqual(before.keys);
    expect(countOpenRegions()).toBe(before.regions);
    await b.getReplica('x', [target], [target.length]);
    expectSameBytes(target, data);
  });

  test('close() leaves no socket, thread or timer', async () => {
    const use = async (): Promise<void> => {
      await using stores = new TestStores();
      const [a, b] = [await stores.open('A'), await stores.open('B')];
      const data = fillBytes(4 * MIB);
      await a.register('x', [data], [data.length], SHARD, '*');
      await b.getReplica('x', [Buffer.alloc(data.length)], [data.length]);
    };
    await use(); // what is loaded once stays
    const before = { resources: countResources(), descriptors: await countDescriptors() };
    await use();
    await eventually('all resources to be given back', async () => {
      const isSame = (await countDescriptors()) <= before.descriptors;
      return isSame && countResources() <= before.resources;
    });
  });
});

describe('9. Bounded everything', () => {
  test('many pulls at once share a few sockets', async () => {
    await using stores = new TestStores();
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const names = Array.from({ length: 60 }, (_value, index) => `x${index}`);
    for (const name of names) await a.register(name, [fillBytes(MIB)], [MIB], SHARD, '*');
    const before = await countDescriptors();
    let most = 0;
    const onProgress = async (): Promise<void> => {
      most = Math.max(most, await countDescriptors());
    };
    await Promise.all(
      names.map((name) => b.getReplica(name, [Buffer.alloc(MIB)], [MIB], { onProgress: () => void onProgress() })),
    );
    most = Math.max(most, await countDescriptors());
    expect(most - before).toBeLessThan(40); // both ends of each, as both stores are in this process
  });
});

describe('10. One writer cannot hurt many', () => {
  test("unregistering one's own gold removes no other's", async () => {
    await using stores = new TestStores();
    const [a, b, c] = [await stores.open('A'), await stores.open('B'), await stores.open('C')];
    const [old, fresh] = [fillBytes(64), fillBytes(64)];
    await a.register('x', [old], [64], SHARD, '*');
    await b.register('x', [fresh], [64], SHARD, '*', { force: true });
    await a.unregister('x');
    const target = Buffer.alloc(64);
    await c.getReplica('x', [target], [64]);
    expectSameBytes(target, fresh);
    await b.unregister('x');
    expect((await a.sources('x')).map(({ segment }) => segment)).toEqual(['C']);
  });

  test('records that nobody understands harm no other object and no process', async () => {
    const uri = freshMemoryUri();
    await using stores = new TestStores(uri);
    const [a, b] = [await stores.open('A'), await stores.open('B')];
    const data = fillBytes(MIB);
    await a.register('x', [data], [MIB], SHARD, '*');
    const metadata = await stores.metadata();
    const texts = ['', '{', '[]', '{"version":1}', `{"version":1,"generation":"g","sizes":[${2 ** 52}]}`];
    for (const [index, text] of texts.entries()) {
      const value = Buffer.from(text);
      await metadata.commit(
        [],
        [
          { kind: 'put', key: objectKey(`bad${index}`), value },
          { kind: 'put', key: sourceKey(`bad${index}`, 'E', 'gold'), value },
          { kind: 'put', key: sourceKey('x', `E${index}`, 'replica'), value },
          { kind: 'put', key: `mooncake/ram/E${index}`, value },
        ],
      );
    }
    expect((await b.list('')).map(({ name }) => name)).toEqual(['x']);
    await expect(b.getReplica('bad1', [], [])).rejects.toEqual(code(ErrorCode.RecordInvalid));
    const target = Buffer.alloc(MIB);
    await b.getReplica('x', [target], [MIB]);
    expectSameBytes(target, data);
    await expect(b.register('bad2', [data], [8], SHARD, '*')).rejects.toMatchObject({
      code: expect.stringMatching(/OBJECT_EXISTS|RECORD_INVALID/),
    });
    await b.register('bad2', [fillBytes(8)], [8], SHARD, '*', { force: true });
  });
});

/** Waits until the gold source has published the root of its digests. */
async function untilDigested(stores: TestStores, name: string): Promise<void> {
  const metadata = await stores.metadata();
  await eventually('the digest root', async () => {
    const entry = await metadata.get(objectKey(name));
    return entry !== undefined && JSON.parse(Buffer.from(entry.value).toString()).digest.root !== undefined;
  });
}

interface Stranger extends AsyncDisposable {
  /** @returns The status of one request to the memory of segment A. */
  attempt(opcode: 'read' | 'write', remoteAddress: number, lengthBytes: number): Promise<string>;
}

/** An engine that goes round the store and asks for addresses. */
async function openStranger(stores: TestStores): Promise<Stranger> {
  const engine = await TransferEngine.open({
    metadata: stores.uri,
    segmentName: 'stranger',
    host: '127.0.0.1',
    ioWorkers: 1,
  });
  const region = allocate(64 * 1024);
  await engine.registerLocalMemory(region.address, region.sizeBytes, '*', { remoteAccess: 'none' });
  const segment = await engine.openSegment('A');
  return {
    async attempt(opcode, remoteAddress, lengthBytes) {
      const batch = engine.submitTransfer([
        { opcode, segment, localAddress: region.address, remoteAddress, lengthBytes },
      ]);
      await batch.done.catch(() => {});
      return batch.tasks[0]?.status ?? 'none';
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      await region.close();
    },
  };
}

function countResources(): number {
  return process.getActiveResourcesInfo().filter((kind) => !/^(?:FSReq|Immediate|Timeout|CloseReq)/.test(kind)).length;
}

async function countDescriptors(): Promise<number> {
  return (await fs.readdir('/proc/self/fd')).length;
}
