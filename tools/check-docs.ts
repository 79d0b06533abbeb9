/**
 * Checks the examples of README.md, docs/ and the doc comments of src/, against the built package.
 *
 * - ```ts      is compiled, with `import ... from 'p2p-store'`
 * - ```ts run  is executed as well
 * - ```sh run  is executed by bash, with `p2pstore` on PATH; one command that fails fails all of it
 *
 * Whatever runs does so in an empty folder; what it leaves in the background is ended.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Example, extractExamples } from './doc-examples.ts';
import { type CommandResult, runCommand } from './run-command.ts';

const ROOT = path.join(import.meta.dirname, '..');
/** Inside the project, so that examples resolve the package by its own name. */
const WORK = path.join(ROOT, '.cache', 'check-docs');
const BINARIES = [path.join(ROOT, 'bin'), path.join(ROOT, 'node_modules', '.bin'), path.dirname(process.execPath)];
const TIMEOUT_MS = 120_000;

async function documents(): Promise<string[]> {
  const docs = await fs.readdir(path.join(ROOT, 'docs'), { withFileTypes: true });
  const sources = await fs.readdir(path.join(ROOT, 'src'), { recursive: true });
  return [
    'README.md',
    ...docs.filter((entry) => entry.isFile() && entry.name.endsWith('.md')).map((entry) => `docs/${entry.name}`),
    ...sources.filter((name) => name.endsWith('.ts') && !name.includes('/gen/')).map((name) => `src/${name}`),
  ].sort();
}

function programPath(example: Example): string {
  return path.join(WORK, `${example.file.replaceAll('/', '__')}.line-${example.line}.ts`);
}

/** Writes one example as a program whose line numbers are those of its document. */
async function writeProgram(example: Example): Promise<void> {
  const module = /^(import|export) /m.test(example.code) ? '' : 'export {};';
  await fs.writeFile(programPath(example), module + '\n'.repeat(example.line - 1) + example.code);
}

async function compile(examples: readonly Example[]): Promise<CommandResult> {
  await Promise.all(examples.map(writeProgram));
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, types: ['node'] },
    include: ['*.ts'],
  };
  await fs.writeFile(path.join(WORK, 'tsconfig.json'), JSON.stringify(config));
  return runCommand('tsc', ['-p', WORK, '--pretty', 'false'], { timeoutMs: TIMEOUT_MS, binaries: BINARIES });
}

function execute(example: Example): Promise<CommandResult> {
  const options = { timeoutMs: TIMEOUT_MS, binaries: BINARIES };
  return example.language === 'ts'
    ? runCommand('tsx', [programPath(example)], options)
    : runCommand('bash', ['-euo', 'pipefail', '-c', example.code], options);
}

function report(what: string, result: CommandResult): boolean {
  const passed = result.exitCode === 0;
  process.stdout.write(`${passed ? 'ok    ' : 'FAILED'} ${what}\n`);
  if (!passed) process.stdout.write(`${result.output}exit code: ${result.exitCode ?? 'ended by a signal'}\n`);
  return passed;
}

async function checkDocs(): Promise<boolean> {
  await fs.rm(WORK, { recursive: true, force: true });
  await fs.mkdir(WORK, { recursive: true });
  const files = await documents();
  const texts = await Promise.all(files.map((file) => fs.readFile(path.join(ROOT, file), 'utf8')));
  const examples = files.flatMap((file, index) => extractExamples(file, texts[index] ?? ''));

  const compiled = examples.filter(({ language }) => language === 'ts');
  let passed = true;
  if (compiled.length > 0) passed = report(`${compiled.length} examples compile`, await compile(compiled));
  for (const example of examples.filter(({ isRun }) => isRun)) {
    const ran = report(`${example.file}:${example.line} runs`, await execute(example));
    passed &&= ran;
  }
  return passed;
}

process.exitCode = (await checkDocs()) ? 0 : 1;
