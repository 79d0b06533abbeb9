import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { Code } from '@connectrpc/connect';
import { describe, expect, test } from 'vitest';
import { GuardedSessions } from '../../../src/core/guarded-sessions.ts';
import { eventually } from '../../support/eventually.ts';

describe('GuardedSessions', () => {
  test('survives an error of a session that its manager let go', async () => {
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

  test('survives a PING that times out while a new call opens the next session', async () => {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket.on('error', () => {}).resume());
      socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])); // its settings, and nothing ever after
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const sessions = new GuardedSessions(`http://127.0.0.1:${port}`, { pingIntervalMs: 50, pingTimeoutMs: 50 });
    const seen = new Set<http2.Http2Session>();
    const call = async (): Promise<void> => {
      const stream = await sessions.request('POST', '/', {}, {});
      if (stream.session !== undefined) seen.add(stream.session);
      stream.on('error', () => {
        if (seen.size < 3) void call();
      });
    };
    await call();
    await eventually('three sessions', () => seen.size === 3 && [...seen].every(({ destroyed }) => destroyed));
    await eventually('their end', () => [...sockets].every(({ destroyed }) => destroyed)); // errors come before
    sessions.abort();
    server.close();
  });

  test('ends a call whose PING is answered only after it was closed', async () => {
    const sessions = new GuardedSessions('http://127.0.0.1:1');
    let answer: (isAlive: boolean) => void = () => {};
    const answered = new Promise<boolean>((resolve) => {
      answer = resolve;
    });
    // What the manager holds of a session that is open and must be verified: no server can time its answer so.
    (sessions as unknown as { s: object }).s = {
      t: 'ready',
      conn: { closed: false, destroyed: false },
      isShuttingDown: () => false,
      requiresVerify: () => true,
      verify: () => answered,
      abort: () => {},
    };
    const call = sessions.request('POST', '/', {}, {});
    sessions.abort();
    answer(true);
    await expect(call).rejects.toMatchObject({ code: Code.Unavailable });
  });
});
