import { describe, expect, test } from 'vitest';
import { meaningOf } from '../../../../../src/engine/transport/rdma/completion-status.ts';

describe('meaningOf()', () => {
  test.each([
    [0, 'done'],
    [4, 'local-fault'],
    [5, 'collateral'],
    [10, 'refused'],
    [12, 'way-lost'],
    [13, 'way-lost'],
    [21, 'way-lost'],
  ])('status %i means %s', (status, meaning) => {
    expect(meaningOf(status)).toBe(meaning);
  });
});
