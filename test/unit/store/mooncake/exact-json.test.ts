import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { goString, parseExactJson } from '../../../../src/store/mooncake/exact-json.ts';

describe('parseExactJson', () => {
  test('keeps every digit of an integer', () => {
    expect(parseExactJson('{"a":18446744073709551615,"b":[-1,0, 9007199254740993 ]}')).toEqual({
      a: 18446744073709551615n,
      b: [-1n, 0n, 9007199254740993n],
    });
  });

  test('leaves fractions, powers and integers of unreasonable length to JSON.parse', () => {
    const long = '1'.repeat(400);
    expect(parseExactJson(`[1.5,1e3,-2E-1,${long}]`)).toEqual([1.5, 1000, -0.2, Number(long)]);
  });

  test('touches no text, whatever looks like a number in it', () => {
    const texts = ['12', '\\', '"', '\\"', 'a"1,2"b', '\\\\"3', '4\\'];
    expect(parseExactJson(JSON.stringify(texts))).toEqual(texts);
  });

  test('refuses what is no JSON', () => {
    for (const text of ['', '01', '[1', '1 2', '--1', '-', '{"a":1,}', '"1']) {
      expect(() => parseExactJson(text), text).toThrow(SyntaxError);
    }
  });

  test('reads all JSON as JSON.parse does, but for integers', () => {
    const asNumbers = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? Number(each) : each)));
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(asNumbers(parseExactJson(text))).toEqual(asNumbers(JSON.parse(text)));
      }),
    );
  });

  test('takes no longer for many small strings than their number demands', () => {
    const text = `[${'"",'.repeat(400_000)}1]`;
    expect(parseExactJson(text)).toHaveLength(400_001);
  });
});

describe('goString', () => {
  test('escapes as Go does', () => {
    expect(goString('a<b>&"\\/\u2028é')).toBe('"a\\u003cb\\u003e\\u0026\\"\\\\/\\u2028é"');
  });
});
