import { describe, expect, test } from 'vitest';
import { assert } from '../../../src/core/assert.ts';
import { isP2PStoreError } from '../../../src/core/errors.ts';

describe('assert', () => {
  test('passes what is true and throws on what is not', () => {
    assert(1);
    expect(() => assert(0)).toThrow('invariant');
    expect(() => assert(false, 'window is not empty')).toThrow('window is not empty');
  });

  test('a broken invariant is no operational error', () => {
    try {
      assert(false);
    } catch (error) {
      expect(isP2PStoreError(error)).toBe(false);
      expect(error).toMatchObject({ name: 'AssertionError' });
      return;
    }
    expect.unreachable();
  });
});
