/**
 * Writes docs/cli.md from the command objects, so that the two cannot differ.
 *
 * `--check` writes nothing and fails when the file is not what it would be.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Command } from '../src/cli/command.ts';
import { COMMANDS } from '../src/cli/commands.ts';
import { OPTIONS, type OptionKey, VARIABLES } from '../src/cli/options.ts';

const FILE = path.join(import.meta.dirname, '../docs/cli.md');

const INTRODUCTION = `# Command line

Made from the command objects in \`src/cli/\` by \`npm run docs:cli\`; change those, not this file.

\`p2pstore\` is the program of the package, \`./bin/p2pstore\` in a checkout. \`p2pstore <command> --help\` says what is here.
`;

const CONVENTIONS = `## What holds for all

Sizes are written like \`64MiB\`, \`1.5g\` or \`4096\` (KiB in 1024s, KB in 1000s), durations like \`250ms\`, \`60s\` or \`5m\`.
A flag comes before its environment variable, and that before the default.

The first Ctrl-C (SIGINT, SIGTERM or SIGHUP too) ends in good order: what was registered is unregistered, and no record, file or process
stays behind. The second one ends at once; records then vanish with their lease, in 10 seconds.

| exit code | meaning |
|---|---|
| 0 | done; for \`publish\` and \`get --seed\`: stopped while serving; for \`status --watch\`: stopped |
| 1 | failed |
| 2 | the command line is wrong |
| 3 | nobody serves an object of that name |
| 4 | \`--timeout\` ran out |
| 130 | interrupted before it was done |

Errors go to standard error as \`p2pstore: message (CODE)\`, with a hint where there is a next step; the codes are in
[errors.md](errors.md).

## Output for programs

\`--json\` prints one JSON object a line on standard output. Facts that an event does not have are absent; more may be added.

| event | when | facts |
|---|---|---|
| \`registered\` | \`publish\` has registered an object | \`name\`, \`bytes\`, \`seconds\`, \`sources\` |
| \`serving\` | all is registered or pulled, and served from now on | \`name\`, \`bytes\`, \`objects\`, \`metadata\`, \`segment\` |
| \`metrics\` | \`--metrics-listen\` listens | \`url\` |
| \`waiting\` | \`get --wait\` begins to wait | \`name\` |
| \`progress\` | while pulling, at most twice a second | \`name\`, \`bytes\`, \`totalBytes\`, \`seconds\`, \`bytesPerSecond\`, \`sources\` |
| \`complete\` | a pull is whole, verified and in its place | \`name\`, \`bytes\`, \`seconds\`, \`bytesPerSecond\`, \`sources\`, \`objects\`, \`from\` (\`segment\`, \`role\`, \`bytes\` of each source) |
| \`object\` | \`list\`, one an object | \`name\`, \`bytes\`, \`shards\`, \`sources\` |
| \`source\` | \`status\`, one a source | \`name\`, \`segment\`, \`role\`, \`state\` (\`serving\`, \`damaged\`, \`unreachable\`), \`bytes\`, \`totalBytes\`, \`bytesPerSecond\` of its pull, \`sentBytesPerSecond\` to others, \`followers\`, \`endpoint\`, \`from\` (\`segment\`, \`role\`, \`bytes\`, \`bytesPerSecond\` of each that it takes from) |
| \`status\` | \`status --watch\`, one each interval | \`name\`, \`totalBytes\`, \`verify\`, counts \`sources\`, \`complete\`, \`unreachable\`, \`notAsked\`; \`bytesPerSecond\` of all pulls, \`goldBytesPerSecond\` of that, \`goldBytes\` taken from gold so far; \`list\`, each as in \`source\` |
| \`topology\` | \`topology\` | \`cards\`, each with \`name\`, \`addresses\` (\`address\`, \`family\`, \`prefixLength\`), \`speedMbps\`, \`numaNode\`, \`unusedBecause\`; \`devices\`, the RDMA devices with \`link\`, \`rate\`, \`gid\`, \`gidIndex\`, \`isUp\`, \`unusedBecause\`, and why there is none in \`devicesUnusedBecause\`; \`matrix\`, what \`--nic-matrix\` takes |
| \`error\` | the command failed | \`code\`, \`message\`, \`name\` |

\`name\` is what was asked for: an object, or a prefix that ends in \`/\`.
`;

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function code(text: string): string {
  return `\`${cell(text)}\``;
}

function optionRow(key: OptionKey, isRequired: boolean): string {
  const { flags, summary, fallback, variable } = OPTIONS[key];
  const otherwise = isRequired ? 'required' : (fallback ?? '');
  return `| ${code(flags)} | ${cell(summary)} | ${cell(otherwise)} | ${variable === undefined ? '' : code(variable)} |`;
}

function commandSection(command: Command): string {
  const { name, description, operands, options, requiredOptions = [], examples } = command;
  const forms = operands.map(({ form }) => form);
  const required = requiredOptions.map((key) => OPTIONS[key].flags);
  return [
    `## p2pstore ${[name, ...forms, ...required].join(' ')}`,
    '',
    description,
    '',
    ...(operands.length === 0
      ? []
      : [
          '| operand | |',
          '|---|---|',
          ...operands.map(({ form, summary }) => `| ${code(form)} | ${cell(summary)} |`),
          '',
        ]),
    '| option | | default | environment |',
    '|---|---|---|---|',
    ...options.map((key) => optionRow(key, requiredOptions.includes(key))),
    '',
    '```sh',
    examples.map(({ line, summary }) => `# ${summary}\n${line}`).join('\n\n'),
    '```',
    '',
  ].join('\n');
}

function variablesSection(): string {
  return [
    '## Environment variables without a flag',
    '',
    'Others can list the command lines of a machine, so secrets are not among the flags.',
    '',
    '| variable | |',
    '|---|---|',
    ...Object.values(VARIABLES).map(({ variable, summary }) => `| ${code(variable)} | ${cell(summary)} |`),
    '',
  ].join('\n');
}

const wanted = [INTRODUCTION, ...COMMANDS.map(commandSection), CONVENTIONS, variablesSection()].join('\n');

if (process.argv.includes('--check')) {
  const present = await fs.readFile(FILE, 'utf8').catch(() => '');
  if (present !== wanted) {
    console.error('docs/cli.md is not up to date; run "npm run docs:cli"');
    process.exitCode = 1;
  }
} else {
  await fs.writeFile(FILE, wanted);
}
