import { once } from 'node:events';
import net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { PeerClient } from '../../../src/swarm/peer-client.ts';
import { PeerService } from '../../../src/swarm/peer-service.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import type { PeerPlace } from '../../../src/swarm/source-feed.ts';
import { eventually } from '../../support/eventually.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

const segment = 'a';
const layout = layoutOf(4 * pieceSizeBytes);
const id = { name: layout.name, generation: layout.generation };

let service: PeerService;
let client: PeerClient;

const portOf = (endpoint: string): number => Number(endpoint.split(':')[1]);

/** The service by way of another address first. */
function placeBehind(address: string): PeerPlace {
  return { segment, peerEndpoint: `${address}:${portOf(service.endpoint)}`, peerAddresses: ['127.0.0.1'] };
}

function shareObject(on: PeerService): SharedObject {
  const ranges = [{ address: 4096, lengthBytes: layout.totalSize, access: 'guarded' as const }];
  const object = new SharedObject({ layout, role: 'replica', ranges });
  on.share(object);
  return object;
}

describe('PeerRoute', () => {
  beforeEach(async () => {
    service = await PeerService.open({ host: '127.0.0.1', segment });
    shareObject(service);
    client = new PeerClient();
  });

  afterEach(async () => {
    await client.close();
    await service.close();
  });

  test('goes to the next address when the first one refuses', async () => {
    expect((await client.getStatus(placeBehind('127.0.0.2'), layout.name)).isServed).toBe(true);
  });

  test('goes to the next address when the first one is silent, leaves no connection there and begins with the other one next time', async () => {
    const sockets = new Set<net.Socket>();
    let accepted = 0;
    let isSilent = true;
    const silent = net.createServer((socket) => {
      accepted += 1;
      if (!isSilent) socket.destroy();
      sockets.add(socket.resume());
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    });
    silent.listen(portOf(service.endpoint), '127.0.0.2');
    await once(silent, 'listening');
    const place = placeBehind('127.0.0.2');
    expect((await client.getStatus(place, layout.name)).isServed).toBe(true);
    expect(accepted).toBe(1);
    await eventually('no connection is left', () => sockets.size === 0 || undefined);

    // Slow machines may need longer than the silent address is given, but not each time.
    isSilent = false;
    await eventually('the other one is asked alone', async () => {
      const { endpoint } = service;
      await service.close();
      const isAnswered = (): Promise<boolean> =>
        client.getStatus(place, layout.name).then(
          () => true,
          () => false,
        );
      await eventually('nobody answers', async () => !(await isAnswered()) || undefined);
      const before = accepted;
      service = await PeerService.open({ host: '127.0.0.1', port: portOf(endpoint), segment });
      await eventually('an answer', isAnswered);
      return accepted === before || undefined;
    });
    silent.close();
  });

  test('does not take another store for the one that it looks for', async () => {
    await using other = await PeerService.open({ host: '127.0.0.2', port: portOf(service.endpoint), segment: 'b' });
    shareObject(other).markVerified(0);
    const place = placeBehind('127.0.0.2');
    expect((await client.getStatus(place, layout.name)).verifiedPieces).toBe(0);
    await service.close();
    await eventually('nobody answers', async () => {
      const failure = await client.getStatus(place, layout.name).catch((error: unknown) => error);
      return (failure as { code?: string }).code === ErrorCode.PeerUnreachable || undefined;
    });
  });

  test('ends what a connection carries that has fallen silent, and goes on at another address', async () => {
    await using proxy = await startTcpProxy(service.endpoint);
    await using card = await PeerService.open({ host: '127.0.0.2', port: portOf(proxy.endpoint), segment });
    shareObject(card).markVerified(3);
    const place = { segment, peerEndpoint: proxy.endpoint, peerAddresses: ['127.0.0.2'] };
    const follow = (onMessage: () => void): Promise<void> =>
      client.follow(place, id, { wantsDigests: false, signal: new AbortController().signal, onMessage });
    let messages = 0;
    const ended = follow(() => {
      messages += 1;
    });
    ended.catch(() => {});
    await eventually('the first message', () => messages > 0 || undefined);
    proxy.stall();
    await expect(ended).rejects.toMatchObject({ code: ErrorCode.PeerUnreachable });
    expect((await client.getStatus(place, layout.name)).verifiedPieces).toBe(1);
  });

  test('stays with a connection over which answers come', async () => {
    await using proxy = await startTcpProxy(service.endpoint);
    await using card = await PeerService.open({ host: '127.0.0.2', port: portOf(proxy.endpoint), segment });
    shareObject(card).markVerified(3);
    const place = { segment, peerEndpoint: proxy.endpoint, peerAddresses: ['127.0.0.2'] };
    const stop = new AbortController();
    const ended = client.follow(place, id, { wantsDigests: false, signal: stop.signal, onMessage: () => {} });
    let isOver = false;
    ended.catch(() => {
      isOver = true;
    });
    const startedMs = performance.now();
    await eventually('pings have been answered', () => performance.now() - startedMs > 3_500 || undefined);
    expect(isOver).toBe(false);
    expect((await client.getStatus(place, layout.name)).verifiedPieces).toBe(0);
    stop.abort();
    await expect(ended).rejects.toBe(stop.signal.reason);
  });
});
