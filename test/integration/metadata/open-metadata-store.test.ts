import { describe, expect, test } from 'vitest';
import { runChildScript } from '../../support/child-script.ts';
import { startEtcd } from '../../support/etcd.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

/** Uses everything, closes, and leaves the rest to Node: it ends only if nothing holds the process. */
const USER = `
const uri = process.argv.at(-1);
const { openMetadataStore } = await dist('metadata/open-metadata-store.js');
const { LeaseKeeper } = await dist('metadata/lease-keeper.js');
const store = await openMetadataStore(uri);
const keeper = await LeaseKeeper.open(store, { ttlMs: 60000 });
await store.watch('', { fromRevision: 1n, onEvents() {}, onReset() {} });
await store.commit([], [{ kind: 'put', key: 'key', value: Buffer.from('x'), leaseId: keeper.leaseId }]);
await keeper.close();
const { entries } = await store.list('key');
await store.close();
const closedAtMs = performance.now();
process.on('exit', () => console.log(entries.length + ' left, ' + (performance.now() - closedAtMs < 4000 ? 'ended' : 'held')));
`;

describe('openMetadataStore', () => {
  test.each(['memory', 'local', 'etcd'])('a closed %s: store leaves nothing that holds the process', async (kind) => {
    await using folder = await makeTemporaryFolder();
    await using cluster = kind === 'etcd' ? await startEtcd() : undefined;
    const uris: Record<string, string> = { memory: 'memory:', local: `local:${folder.path}` };
    const outcome = await runChildScript(USER, [uris[kind] ?? cluster?.uri ?? '']);
    expect(outcome).toEqual({ exitCode: 0, signal: null, stdout: '0 left, ended\n', stderr: '' });
  });

  test('memory: does not load the database library', async () => {
    const outcome = await runChildScript(`
      const { openMetadataStore } = await dist('metadata/open-metadata-store.js');
      await openMetadataStore('memory:');
      console.log(process.report.getReport().sharedObjects.filter((file) => file.includes('lmdb')));
    `);
    expect(outcome.stdout).toBe('[]\n');
  });
});
