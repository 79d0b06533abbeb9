import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { findFreePorts } from './etcd.ts';
import { eventually } from './eventually.ts';
import { makeTemporaryFolder } from './temporary-folder.ts';

/** A throwaway Redis server on a free port. It keeps nothing on disk unless told to. */
export interface RedisServer extends AsyncDisposable {
  readonly uri: string;
  readonly port: number;
  /** Sends one command and returns the raw answer. */
  command(...words: readonly string[]): Promise<string>;
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
  start(): Promise<void>;
}

export async function startRedis(options: { readonly password?: string } = {}): Promise<RedisServer> {
  const folder = await makeTemporaryFolder();
  const [port = 0] = await findFreePorts(1);
  const { password } = options;
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    const flags = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder.path, '--save', ''];
    child = spawn('redis-server', [...flags, ...(password === undefined ? [] : ['--requirepass', password])], {
      stdio: 'ignore',
    });
    child.on('error', () => {}); // told by the answer that does not come
    await eventually('redis-server to answer', () => command('PING').catch(() => undefined));
  };
  const command = (...words: readonly string[]): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => {
        const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
        socket.write(`*${words.length}\r\n${parts.join('')}`);
      });
      socket.once('data', (bytes) => {
        socket.destroy();
        resolve(bytes.toString());
      });
      socket.once('error', reject);
    });
  const kill = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    uri: `redis://${password === undefined ? '' : `:${password}@`}127.0.0.1:${port}`,
    port,
    command,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    kill,
    start,
    async [Symbol.asyncDispose]() {
      await kill();
      await folder[Symbol.asyncDispose]();
    },
  };
}
