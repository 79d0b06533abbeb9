import net from 'node:net';
import os from 'node:os';
import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import { Epoll } from '../../../src/native/epoll.ts';
import { errno } from '../../../src/native/libc.ts';
import { Scratch } from '../../../src/native/scratch.ts';
import {
  acceptConnection,
  closeSocket,
  discardOnClose,
  EAGAIN,
  EFAULT,
  localAddress,
  localPort,
  openListener,
  receive,
  shutdownWrites,
  socketError,
  startConnect,
} from '../../../src/native/sockets.ts';
import { eventually } from '../../support/eventually.ts';

const hasIpv6 = Object.values(os.networkInterfaces()).some((entries) =>
  entries?.some(({ family }) => family === 'IPv6'),
);

async function accept(listener: number): Promise<number> {
  const fd = await eventually('a connection', () => {
    const accepted = acceptConnection(listener);
    return accepted < 0 ? undefined : { accepted };
  });
  return fd.accepted;
}

describe('sockets', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['0.0.0.0', '127.0.0.1'],
    ...(hasIpv6
      ? [
          ['::1', '::1'],
          ['::', '::1'],
          ['::', '127.0.0.1'],
          ['::', '::ffff:127.0.0.1'],
        ]
      : []),
  ])('a listener on %s is reached at %s, by us and by others', async (host, target) => {
    const listener = openListener({ host, port: 0 }, 8);
    const port = localPort(listener);
    expect(port).toBeGreaterThan(0);
    expect(acceptConnection(listener)).toBe(-1);
    expect(errno()).toBe(EAGAIN);
    const ours = startConnect({ host: target, port });
    const first = await accept(listener);
    expect(socketError(ours)).toBe(0);
    const theirs = net.connect({ host: target, port });
    const second = await accept(listener);
    theirs.destroy();
    for (const fd of [ours, first, second, listener]) closeSocket(fd);
  });

  test.each([
    ['127.0.0.1', '127.0.0.1', '127.0.0.2'],
    ...(hasIpv6
      ? [
          ['::', '127.0.0.1', '127.0.0.3'],
          ['::1', '::1', '::1'],
        ]
      : []),
  ])(
    'a connection to a listener on %s at %s starts from %s when it is told to',
    async (host = '', target = '', from = '') => {
      const listener = openListener({ host, port: 0 }, 8);
      const ours = startConnect({ host: target, port: localPort(listener) }, { host: from, card: 'lo' });
      const theirs = await accept(listener);
      expect([localAddress(ours), localAddress(theirs)]).toEqual([from, target]);
      for (const fd of [ours, theirs, listener]) closeSocket(fd);
    },
  );

  test('startConnect() says when it cannot start there', () => {
    expect(() => startConnect({ host: '127.0.0.1', port: 9 }, { host: '192.0.2.77', card: 'lo' })).toThrow(
      /^Cannot bind to 192\.0\.2\.77 of lo/,
    );
  });

  test('discardOnClose() breaks the connection instead of ending it', async () => {
    const listener = openListener({ host: '127.0.0.1', port: 0 }, 8);
    const ours = startConnect({ host: '127.0.0.1', port: localPort(listener) });
    const theirs = await accept(listener);
    discardOnClose(ours);
    closeSocket(ours);
    const buffer = new Scratch(4096);
    expect(receive(theirs, buffer.address, 1, 0)).toBe(-1);
    expect(errno()).toBe(os.constants.errno.ECONNRESET);
    buffer.free();
    for (const fd of [theirs, listener]) closeSocket(fd);
  });

  test('openListener() says when the port is taken, and when the address is not ours', () => {
    const listener = openListener({ host: '127.0.0.1', port: 0 }, 8);
    for (const at of [
      { host: '127.0.0.1', port: localPort(listener) },
      { host: '192.0.2.1', port: 0 },
    ]) {
      let error: unknown;
      try {
        openListener(at, 8);
      } catch (caught) {
        error = caught;
      }
      const name = at.port === 0 ? 'EADDRNOTAVAIL' : 'EADDRINUSE';
      expect(isP2PStoreError(error, ErrorCode.SystemCallFailed) && error.context.errnoName).toBe(name);
    }
    closeSocket(listener);
  });

  test('receive() brings bytes, then nothing, then the end; and a bad address is EFAULT', async () => {
    const listener = openListener({ host: '127.0.0.1', port: 0 }, 8);
    const peer = net.connect(localPort(listener), '127.0.0.1');
    const fd = await accept(listener);
    const memory = new Scratch(64);
    expect([receive(fd, memory.address, 64, 0), errno()]).toEqual([-1, EAGAIN]);
    peer.write('hello');
    await eventually('bytes', () => receive(fd, 8, 64, 0) === -1 && errno() === EFAULT);
    expect(receive(fd, memory.address + 1, 64, 0)).toBe(5);
    expect(Buffer.from(memory.bytes.subarray(0, 7)).toString('latin1')).toBe('\0hello\0');
    shutdownWrites(fd);
    await new Promise((resolve) => peer.once('end', resolve).resume());
    peer.end();
    await eventually('the end', () => receive(fd, memory.address, 64, 0) === 0);
    closeSocket(fd);
    closeSocket(listener);
    memory.free();
  });
});

describe('Epoll', () => {
  test('wakes the event loop for a listener until it is removed', async () => {
    const listener = openListener({ host: '127.0.0.1', port: 0 }, 8);
    let wakes = 0;
    const events: number[] = [];
    const epoll = new Epoll(() => {
      wakes += 1;
      epoll.wait(0, (fd) => events.push(fd));
      const fd = acceptConnection(listener);
      if (fd >= 0) closeSocket(fd);
    });
    epoll.addListener(listener);
    const connect = (): net.Socket => net.connect(localPort(listener), '127.0.0.1').on('error', () => {});
    connect();
    await eventually('a wake-up', () => events.includes(listener));
    epoll.remove(listener);
    const before = events.length;
    connect();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(events).toHaveLength(before);
    expect(wakes).toBeGreaterThan(0);
    epoll.close();
    closeSocket(listener);
  });
});
