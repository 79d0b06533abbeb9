import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Runs a program of the system to its end.
 *
 * @param input - Text for its standard input.
 * @returns What it wrote on standard output.
 */
export async function run(command: string, args: readonly string[], input = ''): Promise<string> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text.stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text.stderr += chunk;
  });
  child.stdin.on('error', () => {}); // the exit code tells
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0)
    throw new Error(`Cannot run ${[command, ...args].join(' ')}: ${text.stderr.trim() || `code ${code}`}`);
  return text.stdout;
}

/** Runs lines as `ip` commands, all in one process. */
export async function ip(lines: readonly string[], namespace?: string): Promise<void> {
  await run('ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'], lines.join('\n'));
}

/** Runs lines as `tc` commands, all in one process. */
export async function tc(lines: readonly string[], namespace: string): Promise<void> {
  await run('tc', ['-n', namespace, '-batch', '-'], lines.join('\n'));
}
