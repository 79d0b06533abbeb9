import os from 'node:os';
import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import { isKnownLocation, parseNicPriorityMatrix } from '../../../src/engine/nic-priority-matrix.ts';

const [card = ''] = Object.keys(os.networkInterfaces());

function errorOf(input: string): unknown {
  try {
    return parseNicPriorityMatrix(input);
  } catch (error) {
    return error;
  }
}

describe('parseNicPriorityMatrix', () => {
  test('reads text and objects alike', () => {
    const matrix = { 'cpu:0': [[card], []], 'cpu:1': [[], [card]] } as const;
    expect(parseNicPriorityMatrix(matrix)).toEqual(matrix);
    expect(parseNicPriorityMatrix(JSON.stringify(matrix))).toEqual(matrix);
  });

  test('takes nothing for no matrix', () => {
    expect(parseNicPriorityMatrix(undefined)).toBeUndefined();
    expect(parseNicPriorityMatrix('')).toBeUndefined();
  });

  test.each(['{', '[]', '7', '{"cpu:0":[]}', '{"cpu:0":[["lo"]]}', '{"cpu:0":[["lo"],["lo"],["lo"]]}', '{"":[[],[]]}'])(
    'refuses %s',
    (input) => {
      const error = errorOf(input);
      expect(isP2PStoreError(error, ErrorCode.InvalidArgument) && error.context).toEqual({
        argument: 'nicPriorityMatrix',
      });
    },
  );

  test('refuses a card that this host does not have, and lists those that it has', () => {
    const error = errorOf('{"cpu:0":[[],["no-such-card0"]]}');
    expect(isP2PStoreError(error, ErrorCode.InvalidArgument)).toBe(true);
    expect((error as Error).message).toContain('no-such-card0');
    expect((error as Error).message).toContain(card);
  });
});

describe('isKnownLocation', () => {
  test('without a matrix takes any NUMA node, with one its keys, and * always', () => {
    const matrix = parseNicPriorityMatrix({ 'cpu:0': [[], []] });
    const ask = (location: string): [boolean, boolean] => [
      isKnownLocation(undefined, location),
      isKnownLocation(matrix, location),
    ];
    expect(ask('*')).toEqual([true, true]);
    expect(ask('cpu:0')).toEqual([true, true]);
    expect(ask('cpu:1')).toEqual([true, false]);
    expect(ask('gpu')).toEqual([false, false]);
    expect(ask('toString')).toEqual([false, false]);
  });
});
