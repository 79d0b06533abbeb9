/**
 * Sources without a test of the same name, and the test that runs them. A key that ends in `/` stands for the
 * sources of a folder. Keep it short: what can be tested by itself has a test of its own.
 */
export const TESTED_THROUGH: Readonly<Record<string, string>> = {
  'src/native/libc.ts': 'test/unit/native/mapping.test.ts',
  'src/digest/digest-worker.ts': 'test/unit/digest/digest-pool.test.ts',
  'src/digest/pending-digest.ts': 'test/unit/digest/digest-pool.test.ts',
};
