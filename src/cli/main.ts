/** The command line `p2pstore`: reads the arguments, runs one command, and says how it ended. */
import { createRequire } from 'node:module';
import { CommanderError, Command as Parser } from 'commander';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { type Config, type Environment, type RawOptions, readConfig } from './config.ts';
import { ExitCode, errorCodeOf, exitCodeOf, hintFor } from './exit-code.ts';
import { Interruption } from './interruption.ts';
import { OPTIONS, type OptionKey, type OptionSpec } from './options.ts';
import { Output, type TextSink } from './output.ts';

const TIMER_MS_MAX = 2 ** 31 - 1;

export interface MainOptions {
  readonly stdout?: TextSink;
  readonly stderr?: TextSink;
  readonly environment?: Environment;
}

interface Invocation {
  readonly command: Command;
  readonly operands: readonly string[];
  readonly raw: RawOptions;
}

/**
 * Runs one command line to its end.
 *
 * @param argv - Without the runtime and the script: `['get', 'model', '--output', 'file']`.
 * @returns The exit code: 0 done, 1 failed, 2 usage, 3 not found, 4 timed out, 130 interrupted.
 */
export async function main(argv: readonly string[], options: MainOptions = {}): Promise<number> {
  const { stdout = process.stdout, stderr = process.stderr, environment = process.env } = options;
  const json = argv.includes('--json');
  let output = new Output({ json, quiet: argv.includes('--quiet'), stdout, stderr });
  let invocation: Invocation | undefined;
  let config: Config | undefined;
  using interruption = new Interruption();
  // Timers of the library do not hold the process, so while it waits for one nothing else may.
  const hold = setInterval(() => {}, TIMER_MS_MAX);
  try {
    invocation = parse(argv, stdout);
    if (invocation === undefined) return ExitCode.Done;
    config = readConfig(invocation.raw, environment);
    output = new Output({ json: config.json, quiet: config.quiet, stdout, stderr });
    if (config.untilStdinEnds) interruption.endWith(process.stdin);
    const { command, operands } = invocation;
    return await command.run({ config, operands, output, interruption });
  } catch (error) {
    return reportFailure(error, output, { config, invocation });
  } finally {
    clearInterval(hold);
  }
}

function reportFailure(
  error: unknown,
  output: Output,
  { config, invocation }: { readonly config: Config | undefined; readonly invocation: Invocation | undefined },
): ExitCode {
  const isUsage = error instanceof CommanderError;
  const exitCode = isUsage ? ExitCode.Usage : exitCodeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const usageHint = `p2pstore ${invocation === undefined ? '' : `${invocation.command.name} `}--help`;
  output.error({
    message: isUsage ? message.replace(/^error: /, '') : message,
    code: isUsage ? 'USAGE' : errorCodeOf(error),
    name: invocation?.operands[0],
    hint: exitCode === ExitCode.Usage ? usageHint : hintFor(error, config),
    stack: config?.logLevel === 'debug' && error instanceof Error ? describeCauses(error) : undefined,
  });
  return exitCode;
}

function describeCauses(error: Error): string {
  const stack = error.stack ?? error.message;
  return error.cause instanceof Error ? `${stack}\ncaused by ${describeCauses(error.cause)}` : stack;
}

/**
 * @returns undefined when help or the version was asked for, and printed.
 * @throws CommanderError The arguments are not a command line of ours.
 */
function parse(argv: readonly string[], stdout: TextSink): Invocation | undefined {
  let invocation: Invocation | undefined;
  const program = createParser(stdout, (found) => {
    invocation = found;
  });
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    const isAnswered =
      error instanceof CommanderError && ['commander.helpDisplayed', 'commander.version'].includes(error.code);
    if (isAnswered) return undefined;
    if (error instanceof CommanderError && error.code === 'commander.help') {
      throw new CommanderError(ExitCode.Usage, error.code, 'Cannot run: no command was given');
    }
    throw error;
  }
  return invocation;
}

function createParser(stdout: TextSink, onInvocation: (invocation: Invocation) => void): Parser {
  const quietly = (parser: Parser): Parser =>
    parser.exitOverride().configureOutput({ writeOut: (text) => stdout.write(text), writeErr: () => {} });
  const program = quietly(new Parser('p2pstore'))
    .description('Moves large objects, such as model checkpoints, between machines: whoever has bytes serves them on.')
    .version(packageVersion());
  for (const command of COMMANDS) {
    const parser = quietly(program.command(command.name)).summary(command.summary).description(command.description);
    for (const { form, summary } of command.operands) parser.argument(form, summary);
    for (const key of command.options) {
      const { flags } = OPTIONS[key];
      const isRequired = command.requiredOptions?.includes(key) === true;
      if (isRequired) parser.requiredOption(flags, describeOption(OPTIONS[key]));
      else parser.option(flags, describeOption(OPTIONS[key]));
    }
    parser.addHelpText('after', describeExamples(command));
    parser.action(() => {
      onInvocation({ command, operands: parser.args, raw: rawOptions(command, parser.opts()) });
    });
  }
  return program;
}

/** Summary, default and environment variable of an option, in one line. */
export function describeOption(spec: OptionSpec): string {
  const facts = [
    ...(spec.fallback === undefined ? [] : [`default: ${spec.fallback}`]),
    ...(spec.variable === undefined ? [] : [`env: ${spec.variable}`]),
  ];
  return facts.length === 0 ? spec.summary : `${spec.summary} (${facts.join(', ')})`;
}

function describeExamples({ examples }: Command): string {
  return ['', 'Examples:', ...examples.flatMap(({ line, summary }) => [`  # ${summary}`, `  ${line}`])].join('\n');
}

/** Commander names an option by its flag; the options of a command are known by their keys. */
function rawOptions(command: Command, parsed: Readonly<Record<string, unknown>>): RawOptions {
  const raw: Partial<Record<OptionKey, string | boolean>> = {};
  for (const key of command.options) {
    const value = parsed[attributeOf(OPTIONS[key].flags)];
    if (typeof value === 'string' || typeof value === 'boolean') raw[key] = value;
  }
  return raw;
}

/** `--nic-matrix <file|json>` as `nicMatrix`, `-w, --watch` as `watch`. */
function attributeOf(flags: string): string {
  const long = /--([\w-]+)/.exec(flags)?.[1] ?? '';
  return long.replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}

function packageVersion(): string {
  const description: unknown = createRequire(import.meta.url)('../../package.json');
  const isKnown = typeof description === 'object' && description !== null && 'version' in description;
  return isKnown ? String(description.version) : 'unknown';
}
