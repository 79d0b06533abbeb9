import { once } from 'node:events';
import net from 'node:net';
import { expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { closeSocket, startConnect } from '../../../src/native/sockets.ts';
import { SplicedBytes } from '../../../src/native/spliced-bytes.ts';
import { eventually } from '../../support/eventually.ts';

test('SplicedBytes sends the bytes as they were when it was made, whole or from an offset', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const received: Buffer[] = [];
  server.on('connection', (socket) => socket.on('data', (chunk: Buffer) => received.push(chunk)));
  const fd = startConnect({ host: '127.0.0.1', port: (server.address() as net.AddressInfo).port });
  await once(server, 'connection');

  const source = Buffer.from('12345678');
  const spliced = new SplicedBytes(addressOf(source), 8);
  source.fill(0);
  expect(spliced.send(fd, 0)).toBe(8);
  expect(spliced.send(fd, 5)).toBe(3);
  expect(spliced.send(fd, 0)).toBe(8);
  await eventually('all bytes', () => Buffer.concat(received).toString() === '1234567867812345678');

  spliced.close();
  closeSocket(fd);
  server.close();
});
