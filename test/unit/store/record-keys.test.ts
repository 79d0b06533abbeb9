import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NAME_MAX_BYTES, SEGMENT_NAME_MAX_BYTES } from '../../../src/store/object-name.ts';
import {
  objectKey,
  objectsPrefix,
  parseObjectKey,
  parseSourceKey,
  sourceKey,
  sourcesOfPrefix,
  sourcesPrefix,
} from '../../../src/store/record-keys.ts';

/** Names built from what the escaping treats specially, next to any Unicode. */
const name = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
  fc.string({ unit: fc.constantFrom('/', '~', '0', '1', 'a', '%', '.'), minLength: 1, maxLength: 8 }),
);

const role = fc.constantFrom('gold', 'replica');

describe('record keys', () => {
  test('lead back to name and segment', () => {
    fc.assert(
      fc.property(name, name, role, (object, segment, as) => {
        expect(parseObjectKey(objectKey(object))).toBe(object);
        expect(parseSourceKey(sourceKey(object, segment, as))).toMatchObject({ name: object, segment, role: as });
      }),
    );
  });

  test("no object's keys are a prefix of another's", () => {
    fc.assert(
      fc.property(name, name, name, name, (a, b, segmentA, segmentB) => {
        fc.pre(a !== b);
        const keysOfA = [objectKey(a), sourcesOfPrefix(a), sourceKey(a, segmentA, 'gold')];
        const keysOfB = [objectKey(b), sourcesOfPrefix(b), sourceKey(b, segmentB, 'replica')];
        for (const key of keysOfB) expect(keysOfA.some((other) => key.startsWith(other))).toBe(false);
      }),
    );
  });

  test('a name starts with a prefix exactly when its keys start with the key prefix', () => {
    fc.assert(
      fc.property(name, fc.oneof(name, fc.constant('')), fc.nat(8), (object, other, cut) => {
        const characters = Array.from(object);
        for (const prefix of [other, characters.slice(0, cut).join('')]) {
          expect(objectKey(object).startsWith(objectsPrefix(prefix))).toBe(object.startsWith(prefix));
          expect(sourceKey(object, 's', 'gold').startsWith(sourcesPrefix(prefix))).toBe(object.startsWith(prefix));
        }
      }),
    );
  });

  test('the longest key is one that every metadata store takes', () => {
    const key = sourceKey('/'.repeat(NAME_MAX_BYTES), '/'.repeat(SEGMENT_NAME_MAX_BYTES), 'replica');
    expect(Buffer.byteLength(key)).toBeLessThanOrEqual(1_536);
  });

  test.each([
    'p2pstore/v1/objects/',
    'p2pstore/v1/objects/a',
    'p2pstore/v1/objects/a/b/',
    'p2pstore/v1/objects/~2/',
    'x',
  ])('parseObjectKey answers undefined for %j', (key) => {
    expect(parseObjectKey(key)).toBeUndefined();
  });

  test.each([
    'p2pstore/v1/sources/a',
    'p2pstore/v1/sources/a/-/',
    'p2pstore/v1/sources//-/s',
    'p2pstore/v1/sources/a/0101/s',
    'p2pstore/v1/sources/a/-/s/c',
  ])('parseSourceKey answers undefined for %j', (key) => {
    expect(parseSourceKey(key)).toBeUndefined();
  });
});
