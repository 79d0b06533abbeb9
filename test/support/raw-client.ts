import net from 'node:net';
import { encodeHeader, type Header } from '../../src/engine/transport/tcp/framing.ts';

/** A plain socket to a data port: sends what it is told, keeps what comes. */
export interface RawClient extends AsyncDisposable {
  readonly socket: net.Socket;
  send(...parts: readonly Uint8Array[]): void;
  /** Waits for the next `count` bytes and takes them. Rejects when the connection ends before. */
  take(count: number): Promise<Buffer>;
  /** Waits for the end of the connection and takes what came before it. `reset` tells an RST from a FIN. */
  end(): Promise<{ readonly bytes: Buffer; readonly isReset: boolean }>;
}

export async function connectRaw(port: number, options: Partial<net.TcpNetConnectOpts> = {}): Promise<RawClient> {
  const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true, ...options });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  let received = Buffer.alloc(0);
  let ended: { isReset: boolean } | undefined;
  let notify = (): void => {};
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
    notify();
  });
  const finish = (isReset: boolean): void => {
    ended ??= { isReset };
    notify();
  };
  socket
    .on('end', () => finish(false))
    .on('error', () => finish(true))
    .on('close', () => finish(true));
  const change = (): Promise<void> =>
    new Promise((resolve) => {
      notify = resolve;
    });
  return {
    socket,
    send: (...parts) => void socket.write(Buffer.concat(parts)),
    async take(count) {
      while (received.length < count) {
        if (ended !== undefined) throw new Error(`the connection ended after ${received.length} of ${count} bytes`);
        await change();
      }
      const bytes = received.subarray(0, count);
      received = received.subarray(count);
      return bytes;
    },
    async end() {
      while (ended === undefined) await change();
      return { bytes: received, isReset: ended.isReset };
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
    },
  };
}

export function headerOf(header: Header): Buffer {
  const bytes = Buffer.alloc(24);
  encodeHeader({ view: new DataView(bytes.buffer, bytes.byteOffset) }, 0, header);
  return bytes;
}

/** A captured header, aimed at another address; its padding stays as captured. */
export function redirected(header: Buffer, address: bigint): Buffer {
  const copy = Buffer.from(header);
  copy.writeBigUInt64LE(address, 8);
  return copy;
}
