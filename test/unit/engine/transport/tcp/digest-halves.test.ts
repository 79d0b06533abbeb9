import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestOf, halvesOf } from '../../../../../src/engine/transport/tcp/digest-halves.ts';

describe('halves of a digest', () => {
  test('make the same digest again, or none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (digest) => {
        const [high, low] = Float64Array.from(halvesOf(digest));
        expect(digestOf([high ?? 0, low ?? 0])).toEqual(digest);
      }),
    );
    expect(digestOf(halvesOf(undefined))).toBeUndefined();
  });
});
