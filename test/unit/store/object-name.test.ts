import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { checkNamePrefix, checkObjectName, checkSegmentName } from '../../../src/store/object-name.ts';

const refused = { code: ErrorCode.InvalidArgument, context: { argument: 'name' } };

function errorOf(call: () => void): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('checkObjectName', () => {
  test.each([
    'a',
    '/',
    '..',
    '../../etc/passwd',
    '%2F',
    '~1',
    'models/llama/1.safetensors',
    'модель',
    '模型 🚀',
    ' ',
    '*',
  ])('accepts %j', (name) => {
    expect(() => checkObjectName(name)).not.toThrow();
  });

  test.each(['', '\0', 'a\nb', '\u007f', '\u0085', '\ud800', 'a\udc00b', 'x'.repeat(513), 'é'.repeat(257)])(
    'refuses %j',
    (name) => {
      expect(errorOf(() => checkObjectName(name))).toMatchObject(refused);
    },
  );

  test('counts bytes of UTF-8, not characters', () => {
    expect(() => checkObjectName('x'.repeat(512))).not.toThrow();
    expect(() => checkObjectName('é'.repeat(256))).not.toThrow();
  });

  test('refuses what is no string', () => {
    expect(errorOf(() => checkObjectName(undefined as unknown as string))).toMatchObject(refused);
    expect(errorOf(() => checkObjectName(7 as unknown as string))).toMatchObject(refused);
  });
});

test('checkNamePrefix accepts the empty prefix and refuses half a surrogate pair', () => {
  expect(() => checkNamePrefix('')).not.toThrow();
  expect(errorOf(() => checkNamePrefix('a\ud83d'))).toMatchObject({ context: { argument: 'namePrefix' } });
});

test('checkSegmentName takes 1 to 240 bytes', () => {
  expect(() => checkSegmentName('10.0.0.1:12345')).not.toThrow();
  for (const name of ['', 'x'.repeat(241), 'a\0']) {
    expect(errorOf(() => checkSegmentName(name))).toMatchObject({ context: { argument: 'localSegmentName' } });
  }
});
