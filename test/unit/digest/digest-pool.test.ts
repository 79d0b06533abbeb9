import { randomBytes } from 'node:crypto';
import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DIGEST_ALGORITHMS, digestBytes } from '../../../src/digest/digest-bytes.ts';
import { DigestPool } from '../../../src/digest/digest-pool.ts';
import type { MemoryRange } from '../../../src/memory/memory-range.ts';
import { allocate } from '../../../src/memory/memory-region.ts';
import { addressOf } from '../../../src/native/address.ts';
import { runChildScript } from '../../support/child-script.ts';

const MIB = 2 ** 20;

function rangeOf(bytes: Uint8Array, access: MemoryRange['access'] = 'direct'): MemoryRange {
  return { address: addressOf(bytes), lengthBytes: bytes.length, access };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Work for one thread for about a tenth of a second or more: the same bytes again and again. */
function slowRanges(bytes: Uint8Array, passes: number): MemoryRange[] {
  return Array.from({ length: passes }, () => rangeOf(bytes));
}

describe.each(DIGEST_ALGORITHMS)('DigestPool with %s', (algorithm) => {
  test('digests like digestBytes, however the memory is cut and reached', async () => {
    await using pool = DigestPool.open({ workers: 2 });
    const bytes = randomBytes(300_000);
    const expected = hex(digestBytes(algorithm, bytes));
    const cuts = fc.array(fc.tuple(fc.nat(bytes.length), fc.constantFrom('direct' as const, 'guarded' as const)), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(cuts, async (points) => {
        const ranges: MemoryRange[] = [];
        let from = 0;
        for (const [to, access] of points.sort(([a], [b]) => a - b)) {
          ranges.push(rangeOf(bytes.subarray(from, to), access));
          from = to;
        }
        ranges.push(rangeOf(bytes.subarray(from)));
        expect(hex(await pool.digest(algorithm, ranges))).toBe(expected);
      }),
      { numRuns: 50 },
    );
  });

  test('digests no bytes', async () => {
    await using pool = DigestPool.open();
    expect(hex(await pool.digest(algorithm, []))).toBe(hex(digestBytes(algorithm, new Uint8Array(0))));
  });
});

describe('DigestPool', () => {
  test('digests a region above 4 GiB from its far end', async () => {
    await using pool = DigestPool.open();
    await using region = allocate(5 * 2 ** 30);
    const tail = region.view(region.sizeBytes - 3 * MIB);
    tail.set(randomBytes(3 * MIB));
    const range: MemoryRange = { address: addressOf(tail), lengthBytes: tail.length, access: 'direct' };
    expect(hex(await pool.digest('xxh64', [range]))).toBe(hex(digestBytes('xxh64', tail)));
  });

  test('answers thousands of jobs at once, each with its own digest', async () => {
    await using pool = DigestPool.open({ workers: 2 });
    const bytes = randomBytes(4000);
    const digests = await Promise.all(
      Array.from({ length: 3000 }, (_, index) => {
        const priority = index % 2 === 0 ? 'foreground' : 'background';
        return pool.digest('xxh64', [rangeOf(bytes.subarray(index))], { priority });
      }),
    );
    digests.forEach((digest, index) => {
      expect(hex(digest)).toBe(hex(digestBytes('xxh64', bytes.subarray(index))));
    });
  });

  test('lets foreground jobs overtake a queue of background ones', async () => {
    await using pool = DigestPool.open({ workers: 1 });
    const bytes = new Uint8Array(8 * MIB);
    const order: string[] = [];
    const background = Array.from({ length: 60 }, () =>
      pool.digest('xxh64', slowRanges(bytes, 4), { priority: 'background' }).then(() => order.push('background')),
    );
    await background[0];
    await pool.digest('xxh64', [rangeOf(bytes)]).then(() => order.push('foreground'));
    expect(order.indexOf('foreground')).toBeLessThan(30);
    await Promise.all(background);
  });

  test.each([
    ['on this thread', MIB],
    ['on another thread', 3 * MIB],
  ])('rejects with P2P_MEMORY_FAULT when a page is not there, and goes on, %s', async (_where, lengthBytes) => {
    await using pool = DigestPool.open({ workers: 1 });
    await pool.digest('xxh64', [rangeOf(new Uint8Array(3 * MIB), 'guarded')]); // what starts later could take the free place
    const region = allocate(lengthBytes);
    const range: MemoryRange = { address: Number(region.address), lengthBytes, access: 'guarded' };
    await region.close();
    await expect(pool.digest('xxh64', [range])).rejects.toMatchObject({
      code: 'P2P_MEMORY_FAULT',
      context: { address: BigInt(range.address) },
    });
    expect(await pool.digest('xxh64', [rangeOf(Buffer.from('abc'))])).toHaveLength(8);
  });

  test.each([0, -1, 1.5])('open() throws P2P_INVALID_ARGUMENT for %d workers', (workers) => {
    expect(() => DigestPool.open({ workers })).toThrow(expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT' }));
  });
});

describe('DigestPool when a signal fires', () => {
  test('rejects at once before the call', async () => {
    await using pool = DigestPool.open();
    const signal = AbortSignal.abort(new Error('before'));
    await expect(pool.digest('xxh64', [rangeOf(new Uint8Array(1))], { signal })).rejects.toThrow('before');
  });

  test('settles queued and running jobs with its reason, once nothing touches the memory', async () => {
    await using pool = DigestPool.open({ workers: 1 });
    const abort = new AbortController();
    const region = allocate(8 * MIB);
    region.view().fill(1);
    const bytes = region.view();
    const first = pool.digest('xxh64', [rangeOf(bytes)]);
    const jobs = Array.from({ length: 40 }, () =>
      pool.digest('xxh64', slowRanges(bytes, 500), { signal: abort.signal }),
    );
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    const outcomes = Promise.allSettled(jobs);
    await first; // so the thread is at the next
    abort.abort(new Error('enough'));
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'enough' } });
    }
    await region.close(); // a thread that still read it would end the process
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    expect(await pool.digest('xxh64', [rangeOf(Buffer.from('abc'))])).toHaveLength(8);
  });

  test('leaves no listener behind after the job', async () => {
    await using pool = DigestPool.open();
    const { signal } = new AbortController();
    await pool.digest('xxh64', [rangeOf(new Uint8Array(1))], { signal });
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});

describe('DigestPool.close()', () => {
  test('finishes what runs, rejects what has not begun with P2P_CLOSED, and takes no more', async () => {
    const pool = DigestPool.open({ workers: 1 });
    const region = allocate(8 * MIB);
    region.view().fill(1);
    await pool.digest('xxh64', [rangeOf(region.view())]); // the thread runs
    const jobs = Array.from({ length: 40 }, () => pool.digest('xxh64', slowRanges(region.view(), 20)));
    const outcomes = Promise.allSettled(jobs);
    await new Promise((resolve) => setImmediate(resolve));
    const closed = pool.close();
    expect(pool.close()).toBe(closed);
    await closed;
    await region.close();
    const settled = await outcomes;
    for (const outcome of settled) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'P2P_CLOSED' });
    }
    expect(settled.at(-1)).toMatchObject({ status: 'rejected' });
    await expect(pool.digest('xxh64', [])).rejects.toMatchObject({ code: 'P2P_CLOSED' });
  });

  test('ends at once when nothing was ever digested', async () => {
    await DigestPool.open().close();
  });
});

describe('DigestPool in a process', () => {
  test('holds it while somebody waits, and not when idle', async () => {
    const outcome = await runChildScript(`
      const { DigestPool } = await dist('digest/digest-pool.js');
      const { addressOf } = await dist('native/address.js');
      const bytes = new Uint8Array(1 << 24);
      const range = { address: addressOf(bytes), lengthBytes: bytes.length, access: 'direct' };
      const pool = DigestPool.open();
      await pool.digest('blake3', [range]);
      console.log('done');
    `);
    expect(outcome).toEqual({ exitCode: 0, signal: null, stdout: 'done\n', stderr: '' });
  });

  test('warns of no leak when many jobs share a signal', async () => {
    const outcome = await runChildScript(`
      const { DigestPool } = await dist('digest/digest-pool.js');
      const { addressOf } = await dist('native/address.js');
      const bytes = new Uint8Array(4096);
      const range = { address: addressOf(bytes), lengthBytes: bytes.length, access: 'direct' };
      const pool = DigestPool.open();
      const { signal } = new AbortController();
      await Promise.all(Array.from({ length: 50 }, () => pool.digest('xxh64', [range], { signal })));
      await pool.close();
    `);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
  });
});
