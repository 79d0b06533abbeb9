/**
 * The RPC port: answers Mooncake's engines, and ours, when they ask for the segment, notify, or look whether we live.
 *
 *   type 0  handshake of RDMA   answered by the RDMA transport; without one as an engine of TCP alone does: with nothing in it
 *   type 1  metadata            the segment's descriptor, `null` before there is one
 *   type 2  notify              `{"name","notify_msg"}`; an empty `notify_msg` in the answer means that nobody took it
 *   type 3  probe               `{"status":"success"}`
 */
import net from 'node:net';
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Notification } from './notifications.ts';
import { encodeRpcFrame, type RpcFrame, RpcFrameReader, RpcType } from './rpc-frame.ts';

export interface RpcServerOptions {
  readonly bindHost: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly logger: Logger;
  /** The descriptor as text; undefined before there is one. */
  readonly describe: () => string | undefined;
  /** Answers a handshake of RDMA; undefined: with nothing. */
  readonly answerHandshake?: (body: unknown) => string | undefined;
  /** @returns Whether it was taken. */
  readonly onNotification: (notification: Notification) => boolean;
}

/** A peer sends its request at once, and closes when it has the answer. */
const CONNECTION_MS = 5000;
/** Each lives for milliseconds. */
const CONNECTIONS_MAX = 256;

const notificationSchema = z.object({ name: z.string().default(''), notify_msg: z.string().default('') });

const EMPTY_HANDSHAKE = JSON.stringify({
  local_gid: '',
  local_lid: 0,
  local_nic_path: '',
  payload: '',
  peer_nic_path: '',
  qp_num: [],
  reply_msg: '',
});

export class RpcServer implements AsyncDisposable {
  readonly #options: RpcServerOptions;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** @throws P2P_INVALID_ARGUMENT The port is taken. */
  static async open(options: RpcServerOptions): Promise<RpcServer> {
    const server = new RpcServer(options);
    const { bindHost, port } = options;
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', (cause) =>
        reject(
          new P2PStoreError(
            ErrorCode.InvalidArgument,
            `Cannot use rpcPort: port ${port} of ${bindHost} cannot be listened on`,
            { argument: 'rpcPort' },
            { cause },
          ),
        ),
      );
      server.#server.listen(port, bindHost, resolve);
    });
    server.#server.removeAllListeners('error');
    server.#server.on('error', (error) => options.logger.warn({ error }, 'RPC port failed'));
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {}); // 'close' follows
    const timer = setTimeout(() => socket.destroy(), CONNECTION_MS);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
    const reader = new RpcFrameReader();
    let isAnswered = false;
    socket.on('data', (part) => {
      if (isAnswered) return; // what follows a request means nothing
      try {
        const frame = reader.push(part);
        if (frame === undefined) return;
        isAnswered = true;
        socket.end(this.#answer(frame));
      } catch (error) {
        this.#options.logger.debug({ error, peer: socket.remoteAddress }, 'RPC request refused');
        socket.destroy();
      }
    });
    socket.once('end', () => {
      if (!isAnswered) socket.destroy();
    });
  }

  #answer({ type, body }: RpcFrame): Buffer {
    return encodeRpcFrame(type, this.#answerOf(type ?? RpcType.Handshake, body));
  }

  #answerOf(type: RpcType, body: unknown): string {
    switch (type) {
      case RpcType.Handshake:
        return this.#options.answerHandshake?.(body) ?? EMPTY_HANDSHAKE;
      case RpcType.Metadata:
        return this.#options.describe() ?? 'null';
      case RpcType.Notify: {
        const { name, notify_msg: message } = notificationSchema.parse(body);
        const isTaken = this.#options.onNotification({ name, message });
        return JSON.stringify({ name: '', notify_msg: isTaken ? 'success' : '' });
      }
      case RpcType.Probe:
        return '{"status":"success"}';
    }
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
