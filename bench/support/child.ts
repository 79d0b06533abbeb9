import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';

/** A process that answers every line on its stdin with one JSON line on its stdout. */
export class Child implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: Interface;
  readonly #iterator: AsyncIterator<string>;

  constructor(command: string, args: readonly string[]) {
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    if (this.#process.stdout === null) throw new Error('child has no stdout');
    this.#lines = createInterface({ input: this.#process.stdout });
    this.#iterator = this.#lines[Symbol.asyncIterator]();
  }

  /** A compiled program of the benchmark, given by its path from the compiled folder. */
  static program(path: string, args: readonly string[] = []): Child {
    return new Child(process.execPath, [new URL(`../${path}.js`, import.meta.url).pathname, ...args]);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** The next line, parsed. */
  async receive<T>(): Promise<T> {
    const { value, done } = await this.#iterator.next();
    if (done === true) throw new Error(`${this.#process.spawnargs.join(' ')} ended without an answer`);
    return JSON.parse(value) as T;
  }

  ask<T>(line: string): Promise<T> {
    this.#process.stdin?.write(`${line}\n`);
    return this.receive<T>();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    await ended;
  }
}

/** The other side: answers each line of stdin; ends with it. */
export async function answerLines(answer: (words: readonly string[]) => Promise<object>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(line.split(' ')))}\n`);
  }
}

export function announce(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
