import { once } from 'node:events';
import net from 'node:net';

/** Stands between a client and a server, to break the connection in the ways a network does. */
export interface TcpProxy extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly endpoint: string;
  /** Ends all connections, and every new one at once. */
  cut(): void;
  /** Lets nothing through any more, without telling either side: a cable that was pulled. */
  stall(): void;
  /** Lets requests through but no answers. */
  mute(): void;
  /** Lets new connections through again. Stalled ones stay silent. */
  restore(): void;
}

export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const [host, port] = target.split(':');
  const sockets = new Set<net.Socket>();
  const upstreams = new Set<net.Socket>();
  let mode: 'through' | 'cut' | 'stalled' = 'through';
  const server = net.createServer((client) => {
    client.on('error', () => {});
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
    if (mode === 'cut') client.destroy();
    if (mode !== 'through') return;
    const upstream = net.connect(Number(port), host);
    upstream.on('error', () => client.destroy());
    sockets.add(upstream);
    upstream.on('close', () => {
      sockets.delete(upstream);
      if (mode !== 'stalled') client.destroy();
    });
    client.on('close', () => upstream.destroy());
    client.pipe(upstream);
    upstreams.add(upstream.on('close', () => upstreams.delete(upstream)));
    upstream.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: ownPort } = server.address() as net.AddressInfo;
  const destroyAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    endpoint: `127.0.0.1:${ownPort}`,
    cut() {
      mode = 'cut';
      destroyAll();
    },
    stall() {
      mode = 'stalled';
      for (const socket of sockets) socket.unpipe().pause();
    },
    mute() {
      for (const upstream of upstreams) upstream.unpipe().resume();
    },
    restore() {
      mode = 'through';
    },
    async [Symbol.asyncDispose]() {
      destroyAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
