import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { MetadataStore } from '../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { put, textOf } from '../contract/metadata-store.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { WatchRecorder } from '../support/watch-recorder.ts';

describe('EtcdMetadataStore on three members', () => {
  let cluster: EtcdCluster;
  let store: MetadataStore;

  beforeAll(async () => {
    cluster = await startEtcd({ members: 3 });
  });
  beforeEach(async () => {
    await store?.close();
    store = await openMetadataStore(cluster.uri);
  });
  afterAll(async () => {
    await store?.close();
    await cluster?.[Symbol.asyncDispose]();
  });

  /** Writes, watches and keeps a lease while one member after the other is made to fail. */
  test.each(['kill', 'freeze'] as const)('goes on when one member, the leader too, suffers a %s', async (fault) => {
    const scope = `cluster-${fault}/`;
    const recorder = new WatchRecorder();
    const lease = await store.grantLease(20_000);
    const { revision } = await store.commit([], [put(`${scope}leased`, 'x', lease)]);
    await using _watch = await store.watch(scope, recorder.from(revision + 1n));
    const leader = await cluster.leader();
    const follower = cluster.members.find((member) => member !== leader) ?? expect.fail('there is no follower');
    const expected: string[] = [];
    // A frozen member is found by its silence, which takes seconds: once is enough.
    for (const [index, member] of (fault === 'kill' ? [leader, follower] : [leader]).entries()) {
      if (fault === 'kill') await member.kill();
      else member.freeze();
      try {
        const outcome = await store.commit(
          [{ kind: 'absent', key: `${scope}${index}` }],
          [put(`${scope}${index}`, 'x', lease)],
        );
        expect(outcome.succeeded).toBe(true);
        expect(await store.keepLeaseAlive(lease)).toBe(20_000);
        expected.push(`put ${scope}${index}`);
        await eventually('the event', () => recorder.lines.length === expected.length);
      } finally {
        if (fault === 'kill') await member.start();
        else member.thaw();
      }
    }
    expect(recorder.lines).toEqual(expected);
    expect(recorder.resets).toEqual([]);
    expect(textOf(await store.get(`${scope}leased`))).toBe('x');
    await store.revokeLease(lease);
  });
});
