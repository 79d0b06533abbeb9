import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareKeys, prefixEnd } from '../../../src/metadata/key-range.ts';

describe('prefixEnd', () => {
  test('parts the keys with the prefix from all greater ones', () => {
    const bytes = fc
      .uint8Array({ minLength: 1, maxLength: 4 })
      .map((each) => each.map((byte) => (byte > 200 ? 255 : byte)));
    fc.assert(
      fc.property(bytes, bytes, (prefix, key) => {
        const end = prefixEnd(prefix);
        const isWithin = Buffer.compare(key, prefix) >= 0 && (end === undefined || Buffer.compare(key, end) < 0);
        expect(isWithin).toBe(Buffer.from(key).subarray(0, prefix.length).equals(prefix));
      }),
    );
  });

  test('is undefined when no key is greater', () => {
    expect(prefixEnd(Buffer.of())).toBeUndefined();
    expect(prefixEnd(Buffer.of(255, 255))).toBeUndefined();
    expect(prefixEnd(Buffer.of(1, 255))).toEqual(Buffer.of(2));
  });
});

describe('compareKeys', () => {
  test('orders by UTF-8 bytes, which strings do not', () => {
    expect(['😀', '～', 'b', 'a'].sort(compareKeys)).toEqual(['a', 'b', '～', '😀']);
  });
});
