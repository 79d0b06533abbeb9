import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../src/core/errors.ts';
import type { MetadataStore } from '../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { put, textOf } from '../contract/metadata-store.ts';
import { type EtcdCluster, findFreePorts, startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { WatchRecorder } from '../support/watch-recorder.ts';

describe('EtcdMetadataStore', () => {
  let cluster: EtcdCluster;
  let store: MetadataStore;

  beforeAll(async () => {
    cluster = await startEtcd();
    store = await openMetadataStore(cluster.uri);
  });
  afterAll(async () => {
    await store?.close();
    await cluster?.[Symbol.asyncDispose]();
  });

  test('a call waits through a restart of etcd, and a watch misses nothing', async () => {
    const recorder = new WatchRecorder();
    const { revision } = await store.commit([], [put('restart/a', '1')]);
    await using _watch = await store.watch('restart/', recorder.from(revision + 1n));
    await store.commit([], [put('restart/before', '1')]);
    await eventually('the first event', () => recorder.lines.length === 1);
    await cluster.member.stop();
    const commit = store.commit([{ kind: 'unchanged', key: 'restart/a', revision }], [put('restart/a', '2')]);
    await cluster.member.start();
    expect((await commit).succeeded).toBe(true);
    await store.commit([], [put('restart/b', '1')]);
    await eventually('the events', () => recorder.lines.includes('put restart/b'));
    expect(recorder.lines).toEqual(['put restart/before', 'put restart/a', 'put restart/b']);
    expect(recorder.resets).toEqual([]);
  });

  test('a watch whose place was compacted while it was cut off is reset to what there is', async () => {
    await using proxy = await startTcpProxy(cluster.member.endpoint);
    await using distant = await openMetadataStore(proxy.endpoint);
    const recorder = new WatchRecorder();
    const { revision } = await store.commit([], [put('compacted/a', '1'), put('compacted/b', '1')]);
    await using _watch = await distant.watch('compacted/', recorder.from(revision + 1n));
    proxy.cut();
    await store.commit([], [{ kind: 'delete', key: 'compacted/a' }]);
    await store.commit([], [put('compacted/c', '1')]);
    await cluster.compact();
    proxy.restore();
    await eventually('the reset', () => recorder.resets.length === 1);
    expect(recorder.resets[0]?.entries.map(({ key }) => key)).toEqual(['compacted/b', 'compacted/c']);
    await store.commit([], [put('compacted/d', '1')]);
    await eventually('the next event', () => recorder.lines.length === 1);
    expect(recorder.lines).toEqual(['put compacted/d']);
  });

  describe.concurrent('with the network at fault', () => {
    test('a watch over a connection that went silent resumes', async () => {
      await using proxy = await startTcpProxy(cluster.member.endpoint);
      await using distant = await openMetadataStore(proxy.endpoint);
      const recorder = new WatchRecorder();
      await using _watch = await distant.watch('silent/', recorder.from((await store.list('silent/')).revision + 1n));
      proxy.stall();
      await store.commit([], [put('silent/a', '1')]);
      proxy.restore();
      await eventually('the event', () => recorder.lines.length === 1);
    });

    test('opening fails within seconds when nobody listens', async () => {
      const [port] = await findFreePorts(1);
      const startMs = performance.now();
      await expect(openMetadataStore(`127.0.0.1:${port}`)).rejects.toMatchObject({
        code: ErrorCode.MetadataUnavailable,
      });
      expect(performance.now() - startMs).toBeLessThan(8000);
    });
  });

  test('calls end with P2P_METADATA_UNAVAILABLE while etcd is frozen, and work again after it', async () => {
    const lease = await store.grantLease(2000);
    await store.commit([], [put('frozen/leased', '1', lease)]);
    const recorder = new WatchRecorder();
    await using _watch = await store.watch('frozen/', recorder.from((await store.list('frozen/')).revision + 1n));
    const abort = new AbortController();
    cluster.member.freeze();
    try {
      const aborted = store.get('frozen/leased', { signal: abort.signal });
      const timedOut = store.get('frozen/leased');
      abort.abort(new Error('stop'));
      await expect(aborted).rejects.toBe(abort.signal.reason);
      await expect(timedOut).rejects.toMatchObject({ code: ErrorCode.MetadataUnavailable });
    } finally {
      cluster.member.thaw();
    }
    await store.commit([], [put('frozen/after', '1')]);
    await eventually('the lease to end', async () => (await store.get('frozen/leased')) === undefined);
    await eventually('the watch to tell both', () => recorder.lines.length >= 2);
    expect([...recorder.lines].sort()).toEqual(['delete frozen/leased', 'put frozen/after']);
  });

  test.each([
    ['is told from the leased record it left', true],
    ['is P2P_METADATA_UNAVAILABLE when others could have left the same record', false],
  ])('a commit whose answer was lost %s', async (_what, isLeased) => {
    await using proxy = await startTcpProxy(cluster.member.endpoint);
    await using distant = await openMetadataStore(proxy.endpoint);
    const lease = isLeased ? await store.grantLease(60_000) : undefined;
    const key = `lost/${isLeased}`;
    proxy.mute();
    const commit = distant.commit([{ kind: 'absent', key }], [put(key, '1', lease)]).catch((error: unknown) => error);
    const entry = await eventually('the commit to arrive', () => store.get(key));
    proxy.cut();
    proxy.restore();
    const expected = isLeased
      ? { succeeded: true, revision: entry.revision }
      : expect.objectContaining({ code: ErrorCode.MetadataUnavailable });
    expect(await commit).toEqual(expected);
  });

  test('a commit that lost to another while its answer was lost has not succeeded', async () => {
    await using proxy = await startTcpProxy(cluster.member.endpoint);
    await using distant = await openMetadataStore(proxy.endpoint);
    const { revision } = await store.commit([], [put('raced/a', '0')]);
    proxy.stall();
    const commit = distant.commit([{ kind: 'unchanged', key: 'raced/a', revision }], [put('raced/a', 'mine')]);
    await store.commit([], [put('raced/a', 'theirs')]);
    proxy.cut();
    proxy.restore();
    expect((await commit).succeeded).toBe(false);
    expect(textOf(await store.get('raced/a'))).toBe('theirs');
  });

  test('close() ends a call that waits for a frozen etcd', async () => {
    const other = await openMetadataStore(cluster.uri);
    await other.watch('x', new WatchRecorder().from(1n));
    cluster.member.freeze();
    try {
      const call = expect(other.get('x')).rejects.toMatchObject({ code: ErrorCode.Closed });
      await other.close();
      await call;
    } finally {
      cluster.member.thaw();
    }
  });

  test('one endpoint of several that nobody listens on does not matter', async () => {
    const [port] = await findFreePorts(1);
    await using other = await openMetadataStore(`etcd://127.0.0.1:${port},${cluster.member.endpoint}`);
    expect(await other.get('endpoints/none')).toBeUndefined();
  });
});

describe('EtcdMetadataStore with users', () => {
  const password = `p@ss:${randomBytes(4).toString('hex')}/word`;
  const quoted = encodeURIComponent(password);
  let cluster: EtcdCluster;

  beforeAll(async () => {
    cluster = await startEtcd({ password });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('opens with the password in the URI or the options, and shows it nowhere', async () => {
    await using first = await openMetadataStore(`etcd://root:${quoted}@${cluster.member.endpoint}`);
    await using second = await openMetadataStore(cluster.uri, { etcd: { username: 'root', password } });
    await first.commit([], [put('users/a', '1')]);
    expect(textOf(await second.get('users/a'))).toBe('1');
    expect(first.uri).toBe(cluster.uri);
  });

  test.each([
    ['a wrong password', 'root:wrong@'],
    ['a wrong user', 'nobody:wrong@'],
    ['no user', ''],
  ])('%s is P2P_METADATA_DENIED within seconds', async (_what, user) => {
    const startMs = performance.now();
    const error: unknown = await openMetadataStore(`etcd://${user}${cluster.member.endpoint}`).catch((cause) => cause);
    expect(isP2PStoreError(error, ErrorCode.MetadataDenied)).toBe(true);
    expect(String(error)).not.toContain('wrong');
    expect(performance.now() - startMs).toBeLessThan(5000);
  });

  test('asks for a new token when etcd has forgotten the old one, for calls and watches', async () => {
    await using store = await openMetadataStore(`etcd://root:${quoted}@${cluster.member.endpoint}`);
    const recorder = new WatchRecorder();
    const { revision } = await store.list('token/');
    await using _watch = await store.watch('token/', recorder.from(revision + 1n));
    await using plain = await openMetadataStore(`etcd://root:${quoted}@${cluster.member.endpoint}`);
    await cluster.member.forgetTokens(password);
    expect(await plain.get('token/a')).toBeUndefined();
    await cluster.member.restart(); // has the watch come back, and show its old token
    await plain.commit([], [put('token/a', '1')]);
    const lease = await plain.grantLease(5000);
    expect(await plain.keepLeaseAlive(lease)).toBe(5000);
    await eventually('the event', () => recorder.lines.length === 1);
  });
});

describe('EtcdMetadataStore with TLS', () => {
  let cluster: EtcdCluster;

  beforeAll(async () => {
    cluster = await startEtcd({ tls: true });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('opens with certificates named in the URI, and works', async () => {
    const { ca, clientCert, clientKey } = cluster.certificates ?? expect.fail('no certificates');
    await using store = await openMetadataStore(`${cluster.uri}?ca=${ca}&cert=${clientCert}&key=${clientKey}`);
    const lease = await store.grantLease(5000);
    await store.commit([], [put('tls/a', '1', lease)]);
    expect(textOf(await store.get('tls/a'))).toBe('1');
    expect(await store.keepLeaseAlive(lease)).toBe(5000);
    expect(store.uri).toBe(cluster.uri);
  });

  test('does not trust a server whose authority it does not know', async () => {
    const { clientCert, clientKey } = cluster.certificates ?? expect.fail('no certificates');
    await expect(openMetadataStore(`${cluster.uri}?cert=${clientCert}&key=${clientKey}`)).rejects.toMatchObject({
      code: ErrorCode.MetadataUnavailable,
    });
  });

  test('is refused without a client certificate', async () => {
    const { ca } = cluster.certificates ?? expect.fail('no certificates');
    const error: unknown = await openMetadataStore(`${cluster.uri}?ca=${ca}`).catch((cause) => cause);
    expect(isP2PStoreError(error)).toBe(true);
  });
});
