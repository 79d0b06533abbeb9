import { describe, expect, test } from 'vitest';
import { LeaseKeeper } from '../../src/metadata/lease-keeper.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { put, textOf } from '../contract/metadata-store.ts';
import { startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { startNodeChild } from '../support/node-child.ts';

/** Lists `alive` under a kept lease, and again whenever the lease was lost. */
const OWNER = `
const [uri, ttlMs] = process.argv.slice(-2);
const { openMetadataStore } = await dist('metadata/open-metadata-store.js');
const { LeaseKeeper } = await dist('metadata/lease-keeper.js');
const store = await openMetadataStore(uri);
const keeper = await LeaseKeeper.open(store, { ttlMs: Number(ttlMs) });
const list = async (leaseId) => {
  await store.commit([], [{ kind: 'put', key: 'owner/alive', value: Buffer.from(leaseId), leaseId }]);
};
keeper.onRegained(async (leaseId) => {
  await list(leaseId);
  console.log('regained ' + leaseId);
});
await list(keeper.leaseId);
console.log('listed ' + keeper.leaseId);
setInterval(() => {}, 1000);
`;

describe('LeaseKeeper', () => {
  test('a process paused for longer than its lease vanishes, and lists itself anew when it goes on', async () => {
    await using cluster = await startEtcd();
    await using store = await openMetadataStore(cluster.uri);
    await using owner = startNodeChild(OWNER, [cluster.uri, '2000']);
    const first = (await owner.line('listed ')).slice('listed '.length);
    owner.freeze();
    await eventually('its record to vanish', async () => (await store.get('owner/alive')) === undefined);
    owner.thaw();
    const second = (await owner.line('regained ')).slice('regained '.length);
    expect(second).not.toBe(first);
    expect(textOf(await store.get('owner/alive'))).toBe(second);
    await owner.kill();
    await eventually('its record to vanish for good', async () => (await store.get('owner/alive')) === undefined);
  });

  test('regains a lease that ran out while etcd was frozen', async () => {
    await using cluster = await startEtcd();
    await using store = await openMetadataStore(cluster.uri);
    await using keeper = await LeaseKeeper.open(store, { ttlMs: 2000 });
    const regained: string[] = [];
    keeper.onRegained(async (leaseId) => {
      await store.commit([], [put('keeper/alive', 'x', leaseId)]);
      regained.push(leaseId);
    });
    const first = keeper.leaseId;
    await store.commit([], [put('keeper/alive', 'x', first)]);
    cluster.member.freeze();
    try {
      // Longer than the lease by etcd's own clock, which goes on while it is frozen.
      const endsAtMs = performance.now() + 4000;
      await eventually('the lease to run out', () => performance.now() > endsAtMs);
    } finally {
      cluster.member.thaw();
    }
    await eventually('the lease to be regained', () => regained.length === 1);
    expect(regained).toEqual([keeper.leaseId]);
    expect(keeper.leaseId).not.toBe(first);
    expect(await store.get('keeper/alive')).toBeDefined();
    await keeper.withLease((leaseId) => store.commit([], [put('keeper/after', 'x', leaseId)]));
    expect(await store.keepLeaseAlive(keeper.leaseId)).toBe(2000);
  });

  test('close() takes no longer than a few seconds when etcd does not answer', async () => {
    await using cluster = await startEtcd();
    await using store = await openMetadataStore(cluster.uri);
    const keeper = await LeaseKeeper.open(store, { ttlMs: 2000 });
    cluster.member.freeze();
    const closing = keeper.close();
    await expect(
      Promise.race([closing, new Promise((_, reject) => setTimeout(reject, 8000).unref())]),
    ).resolves.toBeUndefined();
    cluster.member.thaw();
  });
});
