import { describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/cli/config.ts';
import { errorCodeOf, exitCodeOf, hintFor, withoutCredentials } from '../../../src/cli/exit-code.ts';
import { P2PStoreError } from '../../../src/core/errors.ts';

const notFound = new P2PStoreError('P2P_OBJECT_NOT_FOUND', 'Cannot find', { name: 'a' });
const denied = new P2PStoreError('P2P_METADATA_DENIED', 'Cannot enter', { uri: 'etcd://a' });
const invalid = new P2PStoreError('P2P_INVALID_ARGUMENT', 'Cannot use', { argument: 'name' });
const timeout = new DOMException('late', 'TimeoutError');
const abort = new DOMException('stop', 'AbortError');

describe('exitCodeOf', () => {
  test.each([
    [notFound, 3],
    [timeout, 4],
    [abort, 130],
    [invalid, 2],
    [denied, 1],
    [new Error('bug'), 1],
    ['text', 1],
  ])('maps %s to %d', (error, exitCode) => {
    expect(exitCodeOf(error)).toBe(exitCode);
  });
});

describe('errorCodeOf', () => {
  test('is our code, or says what happened', () => {
    const system = Object.assign(new Error('no'), { code: 'EACCES' });
    expect([notFound, timeout, abort, system, new Error('bug')].map(errorCodeOf)).toEqual([
      'P2P_OBJECT_NOT_FOUND',
      'TIMED_OUT',
      'INTERRUPTED',
      'EACCES',
      'UNEXPECTED',
    ]);
  });
});

describe('hintFor', () => {
  test('tells who relied on the default metadata that it reaches one machine', () => {
    expect(hintFor(notFound, readConfig({}, {}))).toContain('this machine only');
    expect(hintFor(notFound, readConfig({ metadata: 'etcd://a:1' }, {}))).not.toContain('this machine only');
  });

  test('names the variables of the credentials, never their values', () => {
    const unavailable = new P2PStoreError('P2P_METADATA_UNAVAILABLE', 'Cannot reach', { uri: 'etcd://a:1' });
    const config = readConfig({ metadata: 'etcd://ada:secret@a:1' }, {});
    expect(hintFor(unavailable, config)).toContain('etcd://a:1');
    expect(hintFor(unavailable, config)).not.toContain('secret');
    expect(hintFor(denied, config)).toContain('P2PSTORE_ETCD_PASSWORD');
    expect(hintFor(denied, readConfig({ metadata: 'redis://a:1' }, {}))).toContain('redis://user:password@');
  });

  test('has none for what no user can help', () => {
    expect(hintFor(new Error('bug'), undefined)).toBeUndefined();
  });
});

describe('withoutCredentials', () => {
  test.each([
    ['etcd://ada:secret@a:1,b:2', 'etcd://a:1,b:2'],
    ['etcds://ada:p@ss@a:1?ca=x', 'etcds://a:1?ca=x'],
    ['etcd://a:1/x@y', 'etcd://a:1/x@y'],
    ['local:/a@b', 'local:/a@b'],
    ['a:1', 'a:1'],
  ])('shows %s as %s', (uri, shown) => {
    expect(withoutCredentials(uri)).toBe(shown);
  });
});
