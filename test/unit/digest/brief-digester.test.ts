import { describe, expect, test } from 'vitest';
import { BriefDigester } from '../../../src/digest/brief-digester.ts';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import type { JobRequest } from '../../../src/digest/digest-message.ts';
import { addressOf } from '../../../src/native/address.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const MIB = 2 ** 20;

function jobOf(bytes: Uint8Array, priority: JobRequest['priority'] = 'foreground'): JobRequest {
  const range = { address: addressOf(bytes), lengthBytes: bytes.length, access: 'direct' } as const;
  return { id: 7, algorithm: 'xxh64', ranges: [range], priority };
}

describe('BriefDigester', () => {
  test('digests what is small at once', () => {
    const bytes = new Uint8Array(2 * MIB).fill(3);
    const result = new BriefDigester(new FakeClock()).digest(jobOf(bytes));
    expect(result).toEqual({ kind: 'digest', id: 7, digest: digestBytes('xxh64', bytes) });
  });

  test('leaves to others what is large, lies in many places, or has time', () => {
    const digester = new BriefDigester(new FakeClock());
    const scattered = jobOf(new Uint8Array(8));
    const ranges = Array.from({ length: 65 }, () => scattered.ranges).flat();
    expect(digester.digest({ ...scattered, ranges })).toBeUndefined();
    expect(digester.digest(jobOf(new Uint8Array(2 * MIB + 1)))).toBeUndefined();
    expect(digester.digest(jobOf(new Uint8Array(8), 'background'))).toBeUndefined();
    expect(digester.digest(jobOf(new Uint8Array(8)))).toBeDefined();
  });

  test('takes no more than 200 MB a second, however it comes', async () => {
    const clock = new FakeClock();
    const digester = new BriefDigester(clock);
    const bytes = new Uint8Array(MIB);
    let taken = 0;
    for (let ms = 0; ms < 1000; ms++) {
      for (let job = 0; job < 3; job++) if (digester.digest(jobOf(bytes)) !== undefined) taken += bytes.length;
      await clock.advance(1);
    }
    expect(taken).toBeLessThanOrEqual(200_000_000 + MIB);
    expect(taken).toBeGreaterThan(160_000_000);
  });
});
