import { describe, expect, test } from 'vitest';
import { assert } from '../../../src/core/assert.ts';

describe('assert', () => {
  test('passes what is true and throws on what is not', () => {
    assert(1);
    expect(() => assert(0)).toThrow('invariant');
    expect(() => assert(false, 'window is not empty')).toThrow('window is not empty');
  });

  test('a broken invariant is no operational error', () => {
    const broken = (): void => assert(false);
    expect(broken).toThrow(expect.objectContaining({ name: 'AssertionError' }));
    expect(broken).not.toThrow(expect.objectContaining({ name: 'P2PStoreError' }));
  });
});
