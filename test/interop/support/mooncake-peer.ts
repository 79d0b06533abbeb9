import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { PROJECT_ROOT } from '../../support/project-files.ts';

/** Where `tools/interop-venv` puts the real engine. */
export const INTEROP_PYTHON: string = path.join(PROJECT_ROOT, '.cache/interop/venv/bin/python');

const CHUNK_BYTES = 16 << 20;
const STARTING_MS = 60_000;

export interface PeerOptions {
  /** As their engine takes it: a bare `host:port` for etcd. */
  readonly metadata: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** Absent: it uses TCP. */
  readonly rdmaDevice?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface PeerTransfer {
  readonly opcode: 'read' | 'write';
  readonly segment: string;
  /** In its own memory. */
  readonly offset: number;
  readonly remote: number;
  readonly length: number;
  readonly notify?: readonly [name: string, message: string];
}

interface Answer {
  readonly status: number;
  readonly address?: number;
  readonly fd?: number;
  readonly rpcPort?: number;
  readonly notifies?: readonly (readonly [string, string])[];
}

/** A process with a real Mooncake engine in it, and a look into its memory from outside. */
export class MooncakePeer implements AsyncDisposable {
  readonly address: number;
  readonly rpcPort: number;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #memory: number;
  readonly #log: () => string;

  private constructor(
    child: ChildProcessWithoutNullStreams,
    lines: AsyncIterator<string>,
    started: Answer,
    log: () => string,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.#log = log;
    this.address = started.address ?? 0;
    this.rpcPort = started.rpcPort ?? 0;
    this.#memory = fs.openSync(`/proc/${child.pid}/fd/${started.fd}`, 'r+');
  }

  static async start({ metadata, name, sizeBytes, rdmaDevice = '', env = {} }: PeerOptions): Promise<MooncakePeer> {
    const script = path.join(import.meta.dirname, 'peer.py');
    const tcp = { MC_FORCE_TCP: '1', MC_TCP_BIND_ADDRESS: '127.0.0.1' };
    const child = spawn(INTEROP_PYTHON, [script, metadata, name, String(sizeBytes), rdmaDevice], {
      env: { ...process.env, ...(rdmaDevice === '' ? tcp : {}), ...env },
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-4000);
    });
    child.on('error', (error) => {
      log += `\n${error.message}`;
    });
    child.stdin.on('error', () => {}); // it has ended: the next answer does not come
    const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const timer = setTimeout(() => child.kill('SIGKILL'), STARTING_MS);
    const { value } = await lines.next();
    clearTimeout(timer);
    const started = value === undefined ? { status: -1 } : (JSON.parse(value) as Answer);
    if (started.status !== 0) {
      child.kill('SIGKILL');
      throw new Error(`Cannot start Mooncake's engine:\n${log}`);
    }
    return new MooncakePeer(child, lines, started, () => log);
  }

  /** @returns 0 when it says that it is done. */
  async transfer(transfer: PeerTransfer): Promise<number> {
    return (await this.#ask({ do: 'transfer', ...transfer })).status;
  }

  async probe(segment: string): Promise<number> {
    return (await this.#ask({ do: 'probe', segment })).status;
  }

  /** What it reads in a segment's descriptor. */
  async firstBufferOf(segment: string): Promise<number | undefined> {
    return (await this.#ask({ do: 'first-buffer', segment })).address;
  }

  /** What it was notified of since the last call. */
  async notifies(): Promise<readonly (readonly [string, string])[]> {
    return (await this.#ask({ do: 'notifies' })).notifies ?? [];
  }

  async #ask(command: object): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error(`Mooncake's engine ended:\n${this.#log()}`);
    return JSON.parse(value) as Answer;
  }

  /** Puts bytes into its memory from outside. */
  poke(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      fs.writeSync(this.#memory, bytes.subarray(at, at + CHUNK_BYTES), 0, undefined, offset + at);
    }
  }

  clear(offset: number, length: number): void {
    const zeros = Buffer.alloc(Math.min(CHUNK_BYTES, length));
    for (let at = 0; at < length; at += zeros.length) {
      this.poke(offset + at, zeros.subarray(0, Math.min(zeros.length, length - at)));
    }
  }

  /** Index of the first byte of its memory from `offset` on that differs from `expected`; -1: none. */
  firstDifference(offset: number, expected: Uint8Array): number {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, expected.length));
    for (let at = 0; at < expected.length; at += chunk.length) {
      const length = Math.min(chunk.length, expected.length - at);
      fs.readSync(this.#memory, chunk, 0, length, offset + at);
      const part = expected.subarray(at, at + length);
      if (Buffer.compare(chunk.subarray(0, length), part) === 0) continue;
      return at + part.findIndex((byte, index) => byte !== chunk[index]);
    }
    return -1;
  }

  /** Kills it as a crash does: its records stay. */
  async kill(): Promise<void> {
    await this.#end(() => this.#child.kill('SIGKILL'));
  }

  /** Lets it end in good order. */
  async close(): Promise<void> {
    await this.#end(() => this.#child.stdin.end());
  }

  async #end(stop: () => void): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    fs.closeSync(this.#memory);
    const ended = once(this.#child, 'exit');
    stop();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
