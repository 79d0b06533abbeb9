import { Code, ConnectError } from '@connectrpc/connect';
import { describe, expect, test } from 'vitest';
import { classifyFailure, isRefused } from '../../../../src/metadata/etcd/etcd-errors.ts';

const withCause = (code: string): ConnectError =>
  new ConnectError('failed', Code.Unavailable, undefined, undefined, Object.assign(new Error(code), { code }));

describe('classifyFailure', () => {
  test.each([
    [new ConnectError('etcdserver: leader changed', Code.Unavailable), 'unavailable'],
    [new ConnectError('deadline', Code.DeadlineExceeded), 'unavailable'],
    [new ConnectError('etcdserver: too many requests', Code.ResourceExhausted), 'unavailable'],
    [new DOMException('late', 'TimeoutError'), 'unavailable'],
    [new ConnectError('etcdserver: invalid auth token', Code.Unauthenticated), 'token-expired'],
    [new ConnectError('etcdserver: permission denied', Code.PermissionDenied), 'denied'],
    [new ConnectError('etcdserver: user name is empty', Code.InvalidArgument), 'denied'],
    [new ConnectError('etcdserver: requested lease not found', Code.NotFound), 'lease-not-found'],
    [new ConnectError('etcdserver: request is too large', Code.InvalidArgument), 'too-large'],
    [new ConnectError('etcdserver: mvcc: required revision has been compacted', Code.OutOfRange), 'compacted'],
    [new ConnectError('etcdserver: mvcc: database space exceeded', Code.ResourceExhausted), 'final'],
    [withCause('SELF_SIGNED_CERT_IN_CHAIN'), 'final'],
    [withCause('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), 'final'],
    [withCause('ECONNRESET'), 'unavailable'],
    [new TypeError('a mistake of ours'), 'final'],
  ])('%s is %s', (error, kind) => {
    expect(classifyFailure(error)).toBe(kind);
  });
});

describe('isRefused', () => {
  test('is true only when the request cannot have reached the server', () => {
    expect(isRefused(withCause('ECONNREFUSED'))).toBe(true);
    expect(isRefused(withCause('ECONNRESET'))).toBe(false);
    expect(isRefused(new DOMException('late', 'TimeoutError'))).toBe(false);
  });
});
