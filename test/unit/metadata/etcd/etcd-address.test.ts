import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parseEtcdAddress } from '../../../../src/metadata/etcd/etcd-address.ts';
import { makeTemporaryFolder } from '../../../support/temporary-folder.ts';

describe('parseEtcdAddress', () => {
  test.each([
    ['host:1', 'etcd://host:1', ['http://host:1']],
    ['h1:1,h2:2', 'etcd://h1:1,h2:2', ['http://h1:1', 'http://h2:2']],
    ['etcd://host', 'etcd://host:2379', ['http://host:2379']],
    ['etcd://host/', 'etcd://host:2379', ['http://host:2379']],
    ['etcds://host', 'etcds://host:2379', ['https://host:2379']],
    ['etcd://[::1]:5', 'etcd://[::1]:5', ['http://[::1]:5']],
    ['etcd://user:word@host:1', 'etcd://host:1', ['http://host:1']],
  ])('reads %s', (uri, shown, endpoints) => {
    expect(parseEtcdAddress(uri)).toMatchObject({ uri: shown, endpoints });
  });

  test('reads percent-encoded credentials; options win over them', () => {
    const uri = 'etcd://us%40er:p%3Aa%2Fss:word@host';
    expect(parseEtcdAddress(uri).credentials).toEqual({ username: 'us@er', password: 'p:a/ss:word' });
    expect(parseEtcdAddress(uri, { password: 'other' }).credentials).toEqual({ username: 'us@er', password: 'other' });
    expect(parseEtcdAddress('host:1').credentials).toBeUndefined();
    expect(() => parseEtcdAddress('host:1', { password: 'alone' })).toThrow(/user/);
  });

  test('uses TLS when a certificate is given, in the URI or the options', async () => {
    await using folder = await makeTemporaryFolder();
    await writeFile(folder.file('ca.pem'), 'pem');
    const fromUri = parseEtcdAddress(`etcd://host?ca=${folder.file('ca.pem')}`);
    expect(fromUri).toMatchObject({ uri: 'etcds://host:2379', endpoints: ['https://host:2379'] });
    expect(Buffer.from(fromUri.tls?.ca ?? '').toString()).toBe('pem');
    expect(parseEtcdAddress('host:1', { tls: {} })).toMatchObject({ uri: 'etcds://host:1', tls: {} });
  });
});
