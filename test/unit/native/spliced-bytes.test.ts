import { once } from 'node:events';
import net from 'node:net';
import { expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { errno } from '../../../src/native/libc.ts';
import { closeSocket, EAGAIN, startConnect } from '../../../src/native/sockets.ts';
import { SplicedBytes } from '../../../src/native/spliced-bytes.ts';
import { eventually } from '../../support/eventually.ts';

test('SplicedBytes sends the bytes as they were when it was made, more often than its pipe holds them', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const received: Buffer[] = [];
  server.on('connection', (socket) => socket.on('data', (chunk: Buffer) => received.push(chunk)));
  const fd = startConnect({ host: '127.0.0.1', port: (server.address() as net.AddressInfo).port });
  await once(server, 'connection');

  const source = Buffer.from('12345678');
  const spliced = new SplicedBytes(addressOf(source), 8);
  source.fill(0);
  const times = 20_000;
  for (let sent = 0; sent < times; ) {
    const count = spliced.send(fd);
    if (count < 0) {
      expect(errno()).toBe(EAGAIN);
      await eventually('room', () => Buffer.concat(received).length >= sent * 8);
    } else {
      expect(count).toBe(8);
      sent += 1;
    }
  }
  closeSocket(fd);
  await eventually('all bytes', () => Buffer.concat(received).toString() === '12345678'.repeat(times));

  spliced.close();
  server.close();
});
