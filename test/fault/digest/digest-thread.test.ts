import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { DigestPool } from '../../../src/digest/digest-pool.ts';
import type { MemoryRange } from '../../../src/memory/memory-range.ts';
import { addressOf } from '../../../src/native/address.ts';
import type { LogFields } from '../../../src/observability/logger.ts';

describe('DigestPool when a thread dies', () => {
  test('rejects its jobs with P2P_WORKER_FAILED, says so, and starts another', async () => {
    const lines: [LogFields, string][] = [];
    const ignore = (): void => {};
    const logger = {
      debug: ignore,
      info: ignore,
      error: ignore,
      warn: (fields: LogFields, message: string) => lines.push([fields, message]),
    };
    await using pool = DigestPool.open({ workers: 1, logger });
    const bytes = Buffer.from('abc');
    const range: MemoryRange = { address: addressOf(bytes), lengthBytes: 3, access: 'direct' };
    const workers: Worker[] = [];
    const onWorker = (message: unknown): void => {
      workers.push((message as { worker: Worker }).worker);
    };
    subscribe('worker_threads', onWorker);
    const long = pool.digest('xxh64', Array<MemoryRange>(100_000).fill(range));
    const beside = pool.digest('xxh64', [range], { priority: 'background' });
    const settled = Promise.allSettled([long, beside]);
    await Promise.resolve(); // the jobs are handed over at the end of this turn
    unsubscribe('worker_threads', onWorker);
    expect(workers).toHaveLength(1);
    await Promise.all(workers.map((worker) => once(worker, 'online').then(() => worker.terminate())));
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'P2P_WORKER_FAILED', context: { worker: 'digest' }, retryable: true, cause: expect.any(Error) },
      });
    }
    expect(lines).toEqual([[expect.objectContaining({ lostJobs: 2 }), 'digest thread ended']]);
    expect(Buffer.from(await pool.digest('xxh64', [range])).toString('hex')).toBe('44bc2cf5ad770999');
  });
});
