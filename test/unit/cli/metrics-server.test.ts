import { expect, test } from 'vitest';
import { MetricsServer } from '../../../src/cli/metrics-server.ts';
import { ErrorCode, P2PStoreError } from '../../../src/core/errors.ts';

async function scrape(read: () => Promise<string>): Promise<{ readonly status: number; readonly text: string }> {
  await using server = await MetricsServer.open({ host: '127.0.0.1', port: 0, read });
  const response = await fetch(server.url);
  return { status: response.status, text: await response.text() };
}

test('a scrape of a store that closes is told so', async () => {
  const closed = new P2PStoreError(ErrorCode.Closed, 'Cannot read metrics: the store is closed', { resource: 'store' });
  expect(await scrape(() => Promise.reject(closed))).toEqual({ status: 503, text: 'the store is closing\n' });
});

test('a scrape that fails for another reason is told the reason', async () => {
  const { status, text } = await scrape(() => Promise.reject(new Error('no such counter')));
  expect(status).toBe(500);
  expect(text).toContain('no such counter');
});
