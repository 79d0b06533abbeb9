import { describe, expect, test } from 'vitest';
import { errnoNameOf, fileError, writeError } from '../../../src/memory/file-error.ts';
import { systemCallError } from '../../../src/native/libc.ts';

const ENOSPC = 28;

describe('errnoNameOf', () => {
  test('finds the name in errors of Node, in ours, and in no other', () => {
    expect(errnoNameOf(Object.assign(new Error('no'), { code: 'ENOENT' }))).toBe('ENOENT');
    expect(errnoNameOf(systemCallError('fallocate', ENOSPC))).toBe('ENOSPC');
    expect(errnoNameOf(new Error('plain'))).toBeUndefined();
    expect(errnoNameOf('ENOENT')).toBeUndefined();
  });
});

describe('fileError', () => {
  test('keeps the cause', () => {
    const cause = new Error('it is a pipe');
    expect(fileError('map', '/a', cause)).toMatchObject({
      code: 'P2P_FILE_FAILED',
      context: { path: '/a', operation: 'map' },
      cause,
      message: expect.stringContaining('it is a pipe'),
    });
  });
});

describe('writeError', () => {
  test.each(['ENOSPC', 'EDQUOT'])('is P2P_DISK_FULL for %s', (code) => {
    const cause = Object.assign(new Error('full'), { code });
    expect(writeError('create', '/a', 7, cause)).toMatchObject({
      code: 'P2P_DISK_FULL',
      context: { path: '/a', neededBytes: 7 },
      cause,
    });
  });

  test('is P2P_FILE_FAILED for anything else', () => {
    expect(writeError('create', '/a', 7, new Error('x'))).toMatchObject({ code: 'P2P_FILE_FAILED' });
  });
});
