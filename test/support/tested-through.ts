/**
 * Sources without a test of the same name, and the test that runs them. A key that ends in `/` stands for the
 * sources of a folder. Keep it short: what can be tested by itself has a test of its own.
 */
export const TESTED_THROUGH: Readonly<Record<string, string>> = {
  'src/native/libc.ts': 'test/unit/native/mapping.test.ts',
  'src/cli/commands/': 'test/integration/cli/publish-and-get.test.ts',
  'src/cli/demo-child.ts': 'test/integration/cli/demo.test.ts',
  'src/cli/options.ts': 'test/unit/cli/commands.test.ts',
  'src/cli/serving.ts': 'test/integration/cli/publish-and-get.test.ts',
  'src/cli/session.ts': 'test/integration/cli/publish-and-get.test.ts',
  'src/digest/digest-worker.ts': 'test/unit/digest/digest-pool.test.ts',
  'src/digest/pending-digest.ts': 'test/unit/digest/digest-pool.test.ts',
  'src/metadata/in-memory/': 'test/contract/metadata-store.test.ts',
  'src/metadata/embedded/codec.ts': 'test/unit/metadata/embedded/embedded-store.test.ts',
  'src/metadata/embedded/embedded-state.ts': 'test/unit/metadata/embedded/embedded-store.test.ts',
  'src/metadata/embedded/embedded-watcher.ts': 'test/unit/metadata/embedded/embedded-store.test.ts',
  'src/metadata/embedded/environment.ts': 'test/unit/metadata/embedded/embedded-store.test.ts',
  'src/metadata/etcd/etcd-channel.ts': 'test/fault/metadata-etcd.test.ts',
  'src/metadata/etcd/etcd-records.ts': 'test/integration/metadata/etcd/etcd-store.test.ts',
  'src/metadata/etcd/etcd-watch.ts': 'test/fault/metadata-etcd.test.ts',
};
