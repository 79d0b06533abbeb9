import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { eventually } from './eventually.ts';
import { PROJECT_ROOT } from './project-files.ts';

/** A Node process that stays, tells what it does line by line, and can be stopped, continued and killed. */
export interface NodeChild extends AsyncDisposable {
  readonly pid: number;
  /** Lines that it printed so far. */
  readonly lines: readonly string[];
  /** Waits for a line that starts with `start`, from line `from` on, and returns it. */
  line(start: string, options?: { readonly from?: number; readonly deadlineMs?: number }): Promise<string>;
  freeze(): void;
  thaw(): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

/**
 * @param source - Text of an ES module. `dist('core/clock.js')` in it is a promise of that built module.
 * @param through - A program and its arguments that starts the process.
 */
export function startNodeChild(
  source: string,
  args: readonly string[] = [],
  through: readonly string[] = [],
): NodeChild {
  const built = pathToFileURL(path.join(PROJECT_ROOT, 'dist/')).href;
  const prelude = `const dist = (name) => import(new URL(name, ${JSON.stringify(built)}).href);\n`;
  const node = [process.execPath, '--input-type=module', '--eval', prelude + source, '--', ...args];
  const [program = '', ...parameters] = [...through, ...node];
  const child = spawn(program, parameters, {
    cwd: PROJECT_ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let hasEnded = false;
  const closed = once(child, 'close').then(() => {
    hasEnded = true;
  });
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  /** What a process did not say before its end it never says. */
  const unlessGone = (found: string | undefined): string | undefined => {
    if (found !== undefined || !hasEnded) return found;
    throw new Error(
      `the process ended (${child.exitCode ?? child.signalCode}) after ${JSON.stringify(lines.slice(-3))}`,
    );
  };
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await closed;
  };
  return {
    pid: child.pid ?? 0,
    lines,
    line: (start, { from = 0, deadlineMs = 30_000 } = {}) =>
      eventually(`the line "${start}"`, () => unlessGone(lines.slice(from).find((line) => line.startsWith(start))), {
        deadlineMs,
      }),
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    kill,
    [Symbol.asyncDispose]: kill,
  };
}
