import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { put, textOf } from '../../contract/metadata-store.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { makeTemporaryFolder } from '../../support/temporary-folder.ts';

describe('openMetadataStore', () => {
  test('opens the same data for the same memory: name, and other data for another', async () => {
    const uri = `memory:${randomUUID()}`;
    await using first = await openMetadataStore(uri);
    await using second = await openMetadataStore(uri);
    await using other = await openMetadataStore(`${uri}-other`);
    await first.commit([], [put('key', 'x')]);
    expect(textOf(await second.get('key'))).toBe('x');
    expect(await other.get('key')).toBeUndefined();
    expect(first.uri).toBe(uri);
  });

  test('memory: leases run on the given clock', async () => {
    const clock = new FakeClock();
    await using store = await openMetadataStore(`memory:${randomUUID()}`, { clock });
    await store.commit([], [put('key', 'x', await store.grantLease(1000))]);
    await clock.advance(999);
    expect(await store.get('key')).toBeDefined();
    await clock.advance(1);
    expect(await store.get('key')).toBeUndefined();
  });

  test('opens a directory that is not there yet', async () => {
    await using folder = await makeTemporaryFolder();
    const directory = folder.file('a/b');
    await using store = await openMetadataStore(`local:${directory}`);
    expect(store.uri).toBe(`local:${directory}`);
    await store.commit([], [put('key', 'x')]);
    await store.close();
    await using again = await openMetadataStore(`local:${directory}`);
    expect(textOf(await again.get('key'))).toBe('x');
  });

  test.each(['http://localhost:8080/metadata', 'https://user:secret@localhost', 'P2PHANDSHAKE'])(
    'refuses %s with P2P_UNSUPPORTED: a store needs more than it has',
    async (uri) => {
      const error: unknown = await openMetadataStore(uri).catch((cause) => cause);
      expect(error).toMatchObject({ code: ErrorCode.Unsupported });
      expect(String(error)).not.toContain('secret');
    },
  );

  test.each([
    '',
    'localhost',
    'memory:a/b',
    'memory://x',
    'local:relative',
    'local:2379',
    'redis://localhost:port',
    'redis://user:secret@localhost/database',
    'etcd://',
    'etcd://host:0',
    'etcd://host:99999',
    'etcd://a,,b',
    'etcd://user:secret@host:port',
    'etcd://user:%zz@host:1',
    'etcd://host:1?password=secret',
    'etcds://host:1?ca=/no/such/file',
  ])('refuses "%s" with P2P_INVALID_ARGUMENT, without showing a password', async (uri) => {
    const error: unknown = await openMetadataStore(uri).catch((cause) => cause);
    expect(error).toMatchObject({ code: ErrorCode.InvalidArgument, context: { argument: 'metadataUri' } });
    expect(String(error)).not.toContain('secret');
  });
});
