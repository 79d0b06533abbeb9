import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../../src/core/errors.ts';

describe('P2PStoreError', () => {
  test('carries code, context, message and cause', () => {
    const cause = new Error('ECONNREFUSED');
    const error = new P2PStoreError(
      ErrorCode.PeerUnreachable,
      'Cannot read from "a:1": it refuses connections',
      { peer: 'a:1' },
      { cause },
    );
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('P2PStoreError');
    expect(error.code).toBe('P2P_PEER_UNREACHABLE');
    expect(error.context).toEqual({ peer: 'a:1' });
    expect(error.message).toBe('Cannot read from "a:1": it refuses connections');
    expect(error.cause).toBe(cause);
  });

  test('is retryable where another source or a later moment may help, and only there', () => {
    const retryable = Object.values(ErrorCode).filter(
      (code) => new P2PStoreError<ErrorCode>(code, 'Cannot work: test', { argument: 'none' }).retryable,
    );
    expect(retryable.sort()).toEqual([
      'P2P_DIGEST_MISMATCH',
      'P2P_LEASE_LOST',
      'P2P_METADATA_UNAVAILABLE',
      'P2P_NO_SOURCE',
      'P2P_PEER_UNREACHABLE',
      'P2P_TRANSFER_FAILED',
      'P2P_TRANSFER_REFUSED',
      'P2P_WORKER_FAILED',
    ]);
  });
});

describe('ErrorCode', () => {
  test('every code is unique, and spells its key in capitals', () => {
    const codes = Object.values(ErrorCode);
    expect(new Set(codes).size).toBe(codes.length);
    for (const [key, code] of Object.entries(ErrorCode)) {
      expect(code).toBe(`P2P${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`);
    }
  });
});

describe('isP2PStoreError', () => {
  const error = new P2PStoreError(ErrorCode.Closed, 'Cannot use store: it is closed', { resource: 'store' });

  test('tells our errors from others, and by their code', () => {
    expect(isP2PStoreError(error)).toBe(true);
    expect(isP2PStoreError(error, ErrorCode.Closed)).toBe(true);
    expect(isP2PStoreError(error, ErrorCode.NoSource)).toBe(false);
    expect(isP2PStoreError(new Error('no'))).toBe(false);
    expect(isP2PStoreError({ name: 'P2PStoreError', code: ErrorCode.Closed })).toBe(false);
    expect(isP2PStoreError(undefined)).toBe(false);
  });

  test('knows the error of another copy of the package', () => {
    const foreign = Object.assign(new Error('closed'), { name: 'P2PStoreError', code: ErrorCode.Closed });
    expect(isP2PStoreError(foreign, ErrorCode.Closed)).toBe(true);
  });
});
