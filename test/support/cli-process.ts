import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { eventually } from './eventually.ts';
import { PROJECT_ROOT } from './project-files.ts';

/** SIGHUP is signal 1, the first bit of a mask. Node by itself catches others, not this one. */
const SIGHUP_BIT = 1n;

/** One line of `--json`. */
export type CliEvent = Readonly<Record<string, unknown>> & { readonly event: string };

export interface CliOutcome {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of standard output that are JSON. */
  readonly events: readonly CliEvent[];
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A real `p2pstore` process, through `bin/p2pstore`. Leaving its scope kills it. */
export class CliProcess implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #closed: Promise<unknown[]>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], { cwd = PROJECT_ROOT, env = {} }: CliOptions = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('P2PSTORE_'));
    this.#child = spawn(process.execPath, [path.join(PROJECT_ROOT, 'bin', 'p2pstore'), ...args], {
      cwd,
      env: { ...Object.fromEntries(inherited), ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#closed = once(this.#child, 'close');
    this.#child.stdin.on('error', () => {});
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get events(): CliEvent[] {
    return this.#stdout.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as CliEvent] : []));
  }

  /** Waits for an event; says what the process wrote when it ends without. */
  event(kind: string, deadlineMs = 30_000): Promise<CliEvent> {
    return eventually(`event "${kind}"`, () => this.#unlessGone(this.events.find(({ event }) => event === kind)), {
      deadlineMs,
    });
  }

  /** Waits for a text on standard output. */
  async says(text: string, deadlineMs = 30_000): Promise<void> {
    await eventually(`"${text}"`, () => this.#unlessGone(this.#stdout.includes(text)), { deadlineMs });
  }

  /** Waits until a `get` has made its hidden folder inside the output folder. */
  async staged(folder: string): Promise<void> {
    const isStaged = async (): Promise<boolean> =>
      (await fs.readdir(folder)).some((name) => name.startsWith('.p2pstore-'));
    await eventually('a pull', async () => this.#unlessGone(await isStaged()));
  }

  /** Waits until the command catches signals, as the kernel knows it. */
  async listensForSignals(): Promise<void> {
    await eventually('signals to be caught', async () => {
      const status = await fs.readFile(`/proc/${this.pid}/status`, 'utf8');
      const caught = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
      return this.#unlessGone((caught & SIGHUP_BIT) !== 0n);
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  endInput(): void {
    this.#child.stdin.end();
  }

  /** Closes our end of its standard output, as `head` does. */
  closeOutput(): void {
    this.#child.stdout.destroy();
  }

  async ended(): Promise<CliOutcome> {
    const [exitCode, signal] = (await this.#closed) as [number | null, NodeJS.Signals | null];
    return { exitCode, signal, stdout: this.#stdout, stderr: this.#stderr, events: this.events };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  #unlessGone<T>(found: T): T {
    const { exitCode, signalCode } = this.#child;
    if (found || (exitCode === null && signalCode === null)) return found;
    throw new Error(`p2pstore ended (${exitCode ?? signalCode}): ${this.#stdout}${this.#stderr}`);
  }
}

/** Runs a command line to its end. */
export async function runCli(args: readonly string[], options?: CliOptions): Promise<CliOutcome> {
  await using cli = new CliProcess(args, options);
  return await cli.ended();
}
