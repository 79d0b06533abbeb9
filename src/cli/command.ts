/** What a command is: facts for the parser, `--help` and docs/cli.md, and the work itself. */
import type { Config } from './config.ts';
import type { ExitCode } from './exit-code.ts';
import type { Interruption } from './interruption.ts';
import type { OptionKey } from './options.ts';
import type { Output } from './output.ts';

export interface OperandSpec {
  /** As commander takes it: `<name>`, `[prefix]`, `<path...>`. */
  readonly form: string;
  readonly summary: string;
}

export interface CommandContext {
  readonly config: Config;
  /** In the order of the command's operands; a variadic one takes the rest. */
  readonly operands: readonly string[];
  readonly output: Output;
  readonly interruption: Interruption;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** More than the summary, in sentences; for `--help` and the documentation. */
  readonly description: string;
  readonly operands: readonly OperandSpec[];
  readonly options: readonly OptionKey[];
  readonly requiredOptions?: readonly OptionKey[];
  /** Whole command lines, each with what it does. */
  readonly examples: readonly { readonly line: string; readonly summary: string }[];
  /** @throws Anything; `main` maps it to an exit code. */
  run(context: CommandContext): Promise<ExitCode>;
}
