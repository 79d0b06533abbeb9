import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { GuardedSessions } from '../../../src/swarm/guarded-sessions.ts';

test('GuardedSessions survives an error of a session that its manager let go', async () => {
  const server = http2.createServer((_request, response) => response.end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const sessions = new GuardedSessions(`http://127.0.0.1:${port}`);
  const stream = await sessions.request('GET', '/', {}, {});
  const { session } = stream;
  if (session === undefined) throw new Error('the stream has no session');
  stream.resume();
  await once(stream, 'close');
  const closed = new Promise<void>((resolve) => session.once('close', () => resolve())); // once() would hear the error
  session.destroy(new Error('goodbye'));
  sessions.abort(); // takes the manager's listener away before the error is raised
  await closed;
  expect(session.destroyed).toBe(true);
  server.close();
});
