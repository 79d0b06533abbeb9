import { randomUUID } from 'node:crypto';
import { EmbeddedMetadataStore } from '../../src/metadata/embedded/embedded-store.ts';
import { InMemoryMetadataStore } from '../../src/metadata/in-memory/in-memory-store.ts';
import { makeTemporaryFolder } from '../support/temporary-folder.ts';
import { describeMetadataStore } from './metadata-store.ts';

describeMetadataStore('InMemoryMetadataStore', async () => {
  const uri = `memory:${randomUUID()}`;
  return {
    open: async () => new InMemoryMetadataStore(uri),
    compact: async () => new InMemoryMetadataStore(uri).compact(),
    leaseTtlMs: 1000,
    [Symbol.asyncDispose]: async () => {},
  };
});

describeMetadataStore('EmbeddedMetadataStore', async () => {
  const folder = await makeTemporaryFolder();
  return {
    open: () => EmbeddedMetadataStore.open(folder.path),
    async compact() {
      await using store = await EmbeddedMetadataStore.open(folder.path);
      await store.compact();
    },
    leaseTtlMs: 1000,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
});
