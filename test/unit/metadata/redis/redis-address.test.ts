import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { parseRedisAddress } from '../../../../src/metadata/redis/redis-address.ts';

describe('parseRedisAddress', () => {
  test.each([
    ['redis://host', 'redis://host:6379', 'redis://host:6379'],
    ['redis://host:1/', 'redis://host:1', 'redis://host:1/'],
    ['rediss://u:p%40@10.0.0.1:7/255', 'rediss://10.0.0.1:7/255', 'rediss://u:p%40@10.0.0.1:7/255'],
    ['redis://:secret@[fe80::1]:7', 'redis://[fe80::1]:7', 'redis://:secret@[fe80::1]:7'],
  ])('reads %s', (given, uri, url) => {
    expect(parseRedisAddress(given)).toEqual({ uri, url });
  });

  test.each([
    'redis://',
    'redis://host:0x',
    'redis://host/256',
    'redis://host/a',
    'redis://u:secret@host/?a=b',
    'http://host',
  ])('refuses %s without repeating it', (uri) => {
    let error: unknown;
    try {
      parseRedisAddress(uri);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: ErrorCode.InvalidArgument });
    expect(String(error)).not.toContain('secret');
  });
});
