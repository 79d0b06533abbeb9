import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import type { DigestPriority, JobRequest, JobResult } from '../../../src/digest/digest-message.ts';
import { JobRunner } from '../../../src/digest/job-runner.ts';
import type { MemoryRange } from '../../../src/memory/memory-range.ts';
import { addressOf } from '../../../src/native/address.ts';

const MIB = 2 ** 20;

function rangeOf(bytes: Uint8Array, access: MemoryRange['access'] = 'direct'): MemoryRange {
  return { address: addressOf(bytes), lengthBytes: bytes.length, access };
}

function jobOf(id: number, ranges: readonly MemoryRange[], priority: DigestPriority = 'foreground'): JobRequest {
  return { id, algorithm: 'xxh64', ranges, priority };
}

function finish(runner: JobRunner): readonly JobResult[] {
  while (runner.step());
  return runner.takeResults();
}

describe('JobRunner', () => {
  test('digests direct and guarded ranges as one run of bytes, over many steps', () => {
    const bytes = randomBytes(11 * MIB + 17);
    const runner = new JobRunner();
    const ranges = [
      rangeOf(bytes.subarray(0, 5 * MIB + 1), 'guarded'),
      rangeOf(bytes.subarray(0, 0)),
      rangeOf(bytes.subarray(5 * MIB + 1)),
    ];
    runner.accept({ kind: 'jobs', jobs: [jobOf(7, ranges)] });
    expect(runner.step()).toBe(true);
    expect(runner.resultCount).toBe(0);
    expect(finish(runner)).toEqual([{ kind: 'digest', id: 7, digest: digestBytes('xxh64', bytes) }]);
    expect(runner.step()).toBe(false);
  });

  test('lets a foreground job overtake a background one that has begun', () => {
    const bytes = new Uint8Array(9 * MIB);
    const runner = new JobRunner();
    runner.accept({ kind: 'jobs', jobs: [jobOf(1, [rangeOf(bytes)], 'background')] });
    runner.step();
    runner.accept({ kind: 'jobs', jobs: [jobOf(2, [rangeOf(bytes.subarray(0, 100))])] });
    expect(runner.hasUrgentResult).toBe(false);
    runner.step();
    expect(runner.hasUrgentResult).toBe(true);
    expect(finish(runner).map(({ kind, id }) => [kind, id])).toEqual([
      ['digest', 2],
      ['digest', 1],
    ]);
  });

  test('keeps the order within a priority', () => {
    const runner = new JobRunner();
    const range = rangeOf(new Uint8Array(10));
    runner.accept({ kind: 'jobs', jobs: [1, 2, 3].map((id) => jobOf(id, [range])) });
    expect(finish(runner).map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  test('drops a cancelled job, begun or not, with one result', () => {
    const bytes = new Uint8Array(9 * MIB);
    const runner = new JobRunner();
    runner.accept({ kind: 'jobs', jobs: [jobOf(1, [rangeOf(bytes)]), jobOf(2, [rangeOf(bytes)])] });
    runner.step();
    runner.accept({ kind: 'cancel', id: 1 });
    runner.accept({ kind: 'cancel', id: 2 });
    runner.accept({ kind: 'cancel', id: 2 });
    expect(finish(runner)).toEqual([
      { kind: 'dropped', id: 1 },
      { kind: 'dropped', id: 2 },
    ]);
  });

  test('drops what has not begun, and finishes the rest', () => {
    const bytes = new Uint8Array(9 * MIB);
    const runner = new JobRunner();
    runner.accept({ kind: 'jobs', jobs: [1, 2].map((id) => jobOf(id, [rangeOf(bytes)], 'background')) });
    runner.step();
    runner.accept({ kind: 'drop-waiting' });
    expect(finish(runner).map(({ kind, id }) => [kind, id])).toEqual([
      ['dropped', 2],
      ['digest', 1],
    ]);
  });

  test('answers a fault with its place, and goes on with the next job', () => {
    const runner = new JobRunner();
    const bytes = new Uint8Array(10);
    const nowhere: MemoryRange = { address: 4096, lengthBytes: 100, access: 'guarded' };
    runner.accept({ kind: 'jobs', jobs: [jobOf(1, [rangeOf(bytes), nowhere]), jobOf(2, [rangeOf(bytes)])] });
    expect(finish(runner)).toEqual([
      { kind: 'fault', id: 1, address: 4096n, lengthBytes: 100, cause: expect.any(Error) },
      { kind: 'digest', id: 2, digest: digestBytes('xxh64', bytes) },
    ]);
  });
});
