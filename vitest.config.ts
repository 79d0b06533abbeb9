import path from 'node:path';
import { defineConfig } from 'vitest/config';
import { CountReporter } from './tools/count-reporter.ts';

/**
 * Tests name their subject by its source (`../../src/core/gate.ts`) and run what is shipped: the
 * alias leads to the compiled `dist/`, which Node itself loads. So worker files, singletons and
 * native modules behave as they do for a user, and a build must come first.
 */
const dist = path.join(import.meta.dirname, 'dist');

const shared = {
  pool: 'forks' as const,
  server: { deps: { external: [/\/dist\/.*\.js$/] } },
  testTimeout: 60_000, // above what a test waits for one thing, so that this is what is reported
  hookTimeout: 120_000,
  teardownTimeout: 30_000,
};
const resolve = { alias: [{ find: /^(?:\.\.\/)+src\/(.+)\.ts$/, replacement: `${dist}/$1.js` }] };

export default defineConfig({
  test: {
    reporters: ['default', new CountReporter()],
    projects: [
      {
        resolve,
        test: {
          ...shared,
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/*.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        resolve,
        test: {
          ...shared,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 1, // they start processes of their own and would only measure each other
          sequence: { groupOrder: 2 },
        },
      },
      {
        resolve,
        test: {
          ...shared,
          name: 'fault',
          include: ['test/fault/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 1, // a fault must not be another test's fault
          sequence: { groupOrder: 3 },
        },
      },
      {
        resolve,
        test: {
          ...shared,
          name: 'fuzz', // a few rounds at a fixed seed; `npm run fuzz -- --seconds 60` goes on
          include: ['test/fuzz/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 4 },
        },
      },
      {
        resolve,
        test: {
          ...shared,
          name: 'interop', // with real Mooncake engines, which tools/interop-venv installs
          include: ['test/interop/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
});
