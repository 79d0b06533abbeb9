import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PROJECT_ROOT } from './project-files.ts';

export interface ChildOutcome {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a module in a Node process of its own, for what may end the process that does it.
 *
 * @param source - Text of an ES module. `dist('memory/map-file.js')` in it is a promise of that built module.
 */
export async function runChildScript(source: string, args: readonly string[] = []): Promise<ChildOutcome> {
  const built = pathToFileURL(path.join(PROJECT_ROOT, 'dist/')).href;
  const prelude = `const dist = (name) => import(new URL(name, ${JSON.stringify(built)}).href);\n`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', prelude + source, '--', ...args], {
    cwd: PROJECT_ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [exitCode, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { exitCode, signal, stdout, stderr };
}
