import net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { MetadataServer } from '../../../../src/metadata/http/metadata-server.ts';
import { outcomeOf } from '../../../support/engines.ts';

describe('MetadataServer', () => {
  let server: MetadataServer;

  beforeEach(async () => {
    server = await MetadataServer.open({ keysMax: 3, bytesMax: 100 });
  });
  afterEach(() => server.close());

  async function call(method: string, query: string, body?: string): Promise<[number, string]> {
    const response = await fetch(server.uri + query, { method, ...(body !== undefined && { body }) });
    return [response.status, await response.text()];
  }

  test('keeps what was put until it is deleted, and puts over what is there', async () => {
    expect(await call('GET', '?key=mooncake%2Fram%2Fa')).toEqual([404, 'metadata not found']);
    expect(await call('PUT', '?key=mooncake%2Fram%2Fa', '{"a":1}')).toEqual([200, '']);
    expect(await call('GET', '?key=mooncake/ram/a')).toEqual([200, '{"a":1}']);
    expect(await call('PUT', '?key=mooncake/ram/a', '{"a":2}')).toEqual([200, '']);
    expect(await call('GET', '?key=mooncake/ram/a')).toEqual([200, '{"a":2}']);
    expect(await call('DELETE', '?key=mooncake/ram/a')).toEqual([200, '']);
    expect(await call('DELETE', '?key=mooncake/ram/a')).toEqual([200, '']);
    expect((await call('GET', '?key=mooncake/ram/a'))[0]).toBe(404);
  });

  test.each([
    ['another method', 'POST', '?key=a', 405],
    ['no key', 'GET', '', 400],
    ['a key of 1,537 bytes', 'GET', `?key=${'k'.repeat(1537)}`, 400],
    ['another path', 'GET', '/../elsewhere?key=a', 404],
  ])('refuses %s', async (_what, method, query, status) => {
    expect((await call(method, query))[0]).toBe(status);
  });

  test('refuses more keys or bytes than it may keep, and goes on', async () => {
    expect((await call('PUT', '?key=a', 'x'.repeat(101)))[0]).toBe(507);
    for (const key of ['a', 'b', 'c']) expect((await call('PUT', `?key=${key}`, 'x'.repeat(33)))[0]).toBe(200);
    expect((await call('PUT', '?key=d', 'x'))[0]).toBe(507);
    expect((await call('PUT', '?key=a', 'x'.repeat(35)))[0]).toBe(507);
    expect((await call('DELETE', '?key=b'))[0]).toBe(200);
    expect((await call('PUT', '?key=d', 'x'.repeat(34)))[0]).toBe(200);
  });

  test('survives garbage', async () => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('\u0000\u0001 garbage\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve).resume());
    expect((await call('GET', '?key=a'))[0]).toBe(404);
  });

  test('open() refuses a port that is taken', async () => {
    expect(await outcomeOf(MetadataServer.open({ port: server.port }))).toBe(ErrorCode.InvalidArgument);
  });
});
