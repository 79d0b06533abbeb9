import { randomUUID } from 'node:crypto';
import net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import {
  decodeSegment,
  descriptorKey,
  encodeDescriptor,
  encodeLocation,
  locationKey,
} from '../../../src/engine/segment-descriptor.ts';
import { SegmentDirectory } from '../../../src/engine/segment-directory.ts';
import { InMemoryMetadataStore } from '../../../src/metadata/in-memory/in-memory-store.ts';
import { LeaseKeeper } from '../../../src/metadata/lease-keeper.ts';
import type { Condition, Write } from '../../../src/metadata/metadata-store.ts';
import { silentLogger } from '../../../src/observability/logger.ts';
import { outcomeOf } from '../../support/engines.ts';
import { eventually } from '../../support/eventually.ts';

class CountingStore extends InMemoryMetadataStore {
  commits = 0;

  override commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }> {
    this.commits += 1;
    return super.commit(conditions, writes);
  }
}

const NAME = 'node-1';
const HOST = '127.0.0.1';

describe('SegmentDirectory', () => {
  let store: CountingStore;
  let leaseKeeper: LeaseKeeper;
  let listener: net.Server;
  let livePort: number;

  beforeEach(async () => {
    store = new CountingStore(`memory:${randomUUID()}`);
    leaseKeeper = await LeaseKeeper.open(store, { ttlMs: 3000 });
    listener = net.createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => listener.listen(0, HOST, resolve));
    livePort = (listener.address() as net.AddressInfo).port;
  });
  afterEach(async () => {
    await leaseKeeper.close();
    await store.close();
    listener.close();
  });

  function open(dataPort = livePort): Promise<SegmentDirectory> {
    return SegmentDirectory.open({
      metadata: store,
      leaseKeeper,
      segmentName: NAME,
      host: HOST,
      dataPort,
      logger: silentLogger,
    });
  }

  async function leave(dataPort: number, host: string | undefined = HOST): Promise<void> {
    const descriptor = encodeDescriptor({ name: NAME, dataPort, buffers: [], instance: 'other' });
    await store.commit(
      [],
      [
        { kind: 'put', key: descriptorKey(NAME), value: descriptor },
        ...(host === undefined ? [] : [{ kind: 'put', key: locationKey(NAME), value: encodeLocation(host) } as const]),
      ],
    );
  }

  async function listed(): Promise<ReturnType<typeof decodeSegment> | undefined> {
    const [descriptor, location] = await Promise.all([store.get(descriptorKey(NAME)), store.get(locationKey(NAME))]);
    return descriptor && location && decodeSegment(NAME, descriptor.value, location.value);
  }

  describe('open()', () => {
    test('leaves the record of an engine of another kind alone', async () => {
      const descriptor = new TextEncoder().encode(JSON.stringify({ name: NAME, protocol: 'rdma', devices: [] }));
      await store.commit(
        [],
        [
          { kind: 'put', key: descriptorKey(NAME), value: descriptor },
          { kind: 'put', key: locationKey(NAME), value: encodeLocation(HOST) },
        ],
      );
      expect(await outcomeOf(open())).toBe(ErrorCode.SegmentInUse);
      expect((await store.get(descriptorKey(NAME)))?.value).toEqual(descriptor);
    });

    test('lists the segment', async () => {
      const directory = await open();
      expect(await listed()).toMatchObject({ name: NAME, host: HOST, port: livePort, protocolVersion: 2, buffers: [] });
      expect(await directory.resolve(NAME)).toMatchObject({ port: livePort });
    });

    test('refuses a name whose data port answers, and leaves its records alone', async () => {
      await leave(livePort);
      expect(await outcomeOf(open(livePort + 1))).toBe(ErrorCode.SegmentInUse);
      expect((await listed())?.instance).toBe('other');
    });

    test.each([
      ['whose data port refuses', 1, HOST],
      ['whose host does not resolve', 7, 'no-such-host.invalid'],
      ['without a location', 7, undefined],
    ])('takes over what a dead process left %s', async (_name, port, host) => {
      if (host === undefined) {
        const value = encodeDescriptor({ name: NAME, dataPort: port, buffers: [], instance: 'other' });
        await store.commit([], [{ kind: 'put', key: descriptorKey(NAME), value }]);
      } else {
        await leave(port, host);
      }
      await open();
      expect(await listed()).toMatchObject({ port: livePort });
    });

    test('takes over what a process at its own address left: its port is ours now', async () => {
      await leave(livePort);
      await open(livePort);
      expect((await listed())?.instance).not.toBe('other');
    });

    test('lets one of several that come at once have the name', async () => {
      const second = net.createServer((socket) => socket.destroy());
      await new Promise<void>((resolve) => second.listen(0, HOST, resolve));
      const ports = [livePort, (second.address() as net.AddressInfo).port];
      const outcomes = await Promise.all(ports.map((port) => outcomeOf(open(port))));
      expect(outcomes.toSorted()).toEqual([ErrorCode.SegmentInUse, 'resolved']);
      second.close();
    });
  });

  test('add() of 1,000 buffers at once takes few commits, and each is listed when its call resolves', async () => {
    const directory = await open();
    const before = store.commits;
    await Promise.all(
      Array.from({ length: 1000 }, async (_, index) => {
        const address = 4096 * (index + 1);
        await directory.add({ address, lengthBytes: 4096 });
        if (index % 100 !== 0) return;
        expect((await listed())?.buffers.some((buffer) => buffer.address === address)).toBe(true);
      }),
    );
    expect(store.commits - before).toBeLessThanOrEqual(3);
    expect((await listed())?.buffers).toHaveLength(1000);
  });

  test('add() and remove() in turn end with what was called last', async () => {
    const directory = await open();
    const calls: Promise<void>[] = [];
    for (let index = 0; index < 50; index++) {
      calls.push(directory.add({ address: 4096, lengthBytes: 1 }), directory.remove(4096, true));
      calls.push(directory.add({ address: 8192, lengthBytes: index + 1 }));
    }
    await Promise.all(calls);
    expect((await listed())?.buffers).toMatchObject([{ address: 8192, lengthBytes: 50 }]);
  });

  test('add() rejects when its write fails, and the next one lists both', async () => {
    const directory = await open();
    const { commit } = store;
    store.commit = () => Promise.reject(new Error('away'));
    await expect(directory.add({ address: 4096, lengthBytes: 1 })).rejects.toThrow('away');
    store.commit = commit;
    await directory.add({ address: 8192, lengthBytes: 1 });
    expect((await listed())?.buffers).toHaveLength(2);
  });

  test('lists the segment anew, with its buffers, when the lease was lost', async () => {
    const directory = await open();
    await directory.add({ address: 4096, lengthBytes: 1 });
    await store.revokeLease(leaseKeeper.leaseId);
    expect(await listed()).toBeUndefined();
    await eventually('the new listing', async () => (await listed())?.buffers.length === 1);
  });

  describe('resolve()', () => {
    test.each([
      [ErrorCode.SegmentNotFound, []],
      [ErrorCode.SegmentNotFound, [{ kind: 'put', key: descriptorKey('x'), value: Buffer.from('{}') }]],
      [
        ErrorCode.RecordInvalid,
        [
          { kind: 'put', key: descriptorKey('x'), value: Buffer.from('{}') },
          { kind: 'put', key: locationKey('x'), value: encodeLocation(HOST) },
        ],
      ],
    ] as const)('answers %s for %j', async (code, writes) => {
      const directory = await open();
      await store.commit([], writes);
      expect(await outcomeOf(directory.resolve('x'))).toBe(code);
    });

    test('can be aborted', async () => {
      const directory = await open();
      const reason = new Error('stop');
      expect(await outcomeOf(directory.resolve(NAME, AbortSignal.abort(reason)))).toBe(reason);
    });
  });

  describe('close()', () => {
    test('takes the records back', async () => {
      const directory = await open();
      await directory.close();
      expect((await store.list('mooncake/')).entries).toEqual([]);
    });

    test('leaves the records of another that took the name', async () => {
      const directory = await open();
      await leave(1);
      await directory.close();
      expect((await listed())?.instance).toBe('other');
    });

    test('does not fail when the metadata store is away', async () => {
      const directory = await open();
      const { get } = store;
      store.get = () => Promise.reject(new Error('away'));
      await directory.close();
      store.get = get;
    });
  });
});
