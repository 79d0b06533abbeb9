import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import {
  COMMIT_BYTES_MAX,
  checkCommit,
  checkKey,
  checkPrefix,
  KEY_BYTES_MAX,
  parseLeaseId,
} from '../../../src/metadata/commit-check.ts';

const invalid = expect.objectContaining({ code: ErrorCode.InvalidArgument });

describe('checkKey', () => {
  test('counts bytes, not characters', () => {
    checkKey('é'.repeat(KEY_BYTES_MAX / 2));
    expect(() => checkKey('é'.repeat(KEY_BYTES_MAX / 2 + 1))).toThrow(invalid);
  });

  test('refuses the empty key, which is a good prefix', () => {
    expect(() => checkKey('')).toThrow(invalid);
    checkPrefix('');
  });
});

describe('checkCommit', () => {
  test('names the write that passes the limit', () => {
    const value = new Uint8Array(COMMIT_BYTES_MAX / 2);
    const writes = ['a', 'b'].map((key) => ({ kind: 'put' as const, key, value }));
    expect(() => checkCommit([], writes)).toThrow(
      expect.objectContaining({
        code: ErrorCode.RecordTooLarge,
        context: { key: 'b', sizeBytes: COMMIT_BYTES_MAX + 2, limitBytes: COMMIT_BYTES_MAX },
      }),
    );
  });

  test('checks the keys of conditions too', () => {
    expect(() => checkCommit([{ kind: 'absent', key: '' }], [])).toThrow(invalid);
    checkCommit([{ kind: 'prefix-empty', prefix: '' }], []);
  });
});

describe('parseLeaseId', () => {
  test('takes positive decimal numbers only', () => {
    expect(parseLeaseId('7587854738437')).toBe(7587854738437n);
    for (const text of ['', '0', '-1', '1.5', '0x1', '1'.repeat(20)]) expect(() => parseLeaseId(text)).toThrow(invalid);
  });
});
