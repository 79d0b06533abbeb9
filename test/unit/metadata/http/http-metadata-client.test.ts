import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import { HttpMetadataClient } from '../../../../src/metadata/http/http-metadata-client.ts';
import { outcomeOf } from '../../../support/engines.ts';

describe('HttpMetadataClient', () => {
  const seen: string[] = [];
  let status = 200;
  let server: Server;
  let client: HttpMetadataClient;

  beforeEach(async () => {
    seen.length = 0;
    status = 200;
    server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      request.resume().on('end', () => response.writeHead(status).end('{}'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    client = new HttpMetadataClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metadata`);
  });
  afterEach(() => {
    server.close();
    server.closeAllConnections();
  });

  test('asks as the original does, with keys escaped as by libcurl', async () => {
    expect(Buffer.from((await client.get("mooncake/ram/a b!'()*ü")) ?? []).toString()).toBe('{}');
    await client.put('k', Buffer.from('v'));
    await client.delete('k');
    expect(seen).toEqual([
      'GET /metadata?key=mooncake%2Fram%2Fa%20b%21%27%28%29%2A%C3%BC',
      'PUT /metadata?key=k',
      'DELETE /metadata?key=k',
    ]);
  });

  test('takes 404 for absent, and everything else but 200 for a failure', async () => {
    status = 404;
    expect(await client.get('k')).toBeUndefined();
    await client.delete('k');
    expect(await outcomeOf(client.put('k', Buffer.from('v')))).toBe(ErrorCode.MetadataUnavailable);
    status = 204;
    expect(await outcomeOf(client.get('k'))).toBe(ErrorCode.MetadataUnavailable);
    status = 403;
    expect(await outcomeOf(client.get('k'))).toBe(ErrorCode.MetadataDenied);
  });

  test('rejects with P2P_METADATA_UNAVAILABLE when nobody answers, and with the reason of an abort', async () => {
    server.close();
    server.closeAllConnections();
    expect(await outcomeOf(client.get('k'))).toBe(ErrorCode.MetadataUnavailable);
    const reason = new Error('stop');
    expect(await outcomeOf(client.get('k', AbortSignal.abort(reason)))).toBe(reason);
  });

  test('shows no password, and takes nothing but an http URL', () => {
    expect(new HttpMetadataClient('http://user:secret@host:1/metadata').uri).toBe('http://host:1/metadata');
    for (const uri of ['ftp://host/metadata', 'http://', 'http://host/metadata?key=a']) {
      expect(() => new HttpMetadataClient(uri)).toThrow('Cannot read the metadata URI');
    }
  });
});
