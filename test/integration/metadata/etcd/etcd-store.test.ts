import { openMetadataStore } from '../../../../src/metadata/open-metadata-store.ts';
import { describeMetadataStore } from '../../../contract/metadata-store.ts';
import { startEtcd } from '../../../support/etcd.ts';

describeMetadataStore('EtcdMetadataStore', async () => {
  const cluster = await startEtcd();
  return {
    open: () => openMetadataStore(cluster.uri),
    compact: () => cluster.compact(),
    leaseTtlMs: 2000, // etcd's shortest
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
});
