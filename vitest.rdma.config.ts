import path from 'node:path';
import { defineConfig } from 'vitest/config';
import { CountReporter } from './tools/count-reporter.ts';

/** For the guest that `npm run test:rdma` boots: it is slow, and its two processors are emulated. */
const dist = path.join(import.meta.dirname, 'dist');

export default defineConfig({
  resolve: { alias: [{ find: /^(?:\.\.\/)+src\/(.+)\.ts$/, replacement: `${dist}/$1.js` }] },
  test: {
    include: ['test/rdma/**/*.test.ts'],
    reporters: [['default', { summary: false }], new CountReporter()],
    pool: 'forks',
    server: { deps: { external: [/\/dist\/.*\.js$/] } },
    fileParallelism: false,
    isolate: false, // starting a process takes seconds
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
