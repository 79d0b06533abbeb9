import { abortable } from '../../core/abort.ts';
import type { Command, CommandContext } from '../command.ts';
import { type Deadline, openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { COMMON_OPTIONS } from '../options.ts';
import { openStore, type P2PStore } from '../session.ts';
import { sourceEvents, statusEvent, statusLines } from '../status-view.ts';

export const statusCommand: Command = {
  name: 'status',
  summary: 'shows who has how much of an object, and who serves whom how fast',
  description:
    'Asks every source of an object how much of it it has, and from whom it takes it how fast: gold registered it, a replica pulled it, perhaps not all of it yet. ' +
    'Below a source stand those that it takes, or took, the bytes from. Of more than 256 sources only as many are asked. ' +
    'With --watch it does so again and again until interrupted: on a terminal in place, elsewhere block after block.',
  operands: [{ form: '<name>', summary: 'object' }],
  options: [...COMMON_OPTIONS, 'watch', 'interval'],
  examples: [
    { line: 'p2pstore status model.safetensors', summary: 'Who has it, and how much of it' },
    { line: 'p2pstore status model.safetensors --watch', summary: 'Live, until Ctrl-C' },
    {
      line: 'p2pstore status model.safetensors --watch --interval 5s --json',
      summary: 'For a program: one event every five seconds',
    },
  ],
  run: runStatus,
};

async function runStatus(context: CommandContext): Promise<ExitCode> {
  const { config, operands, output, interruption } = context;
  const name = operands[0] ?? '';
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  const { signal } = deadline;
  await using store = await openStore(context, signal);
  if (config.watch) {
    await watch(context, store, name, deadline);
    return ExitCode.Done;
  }
  const status = await store.status(name, { signal });
  for (const event of sourceEvents(status)) output.event(event);
  for (const line of statusLines(status)) output.line(line);
  return ExitCode.Done;
}

/** The deadline is for the first status; after that only an interruption ends the watch, which is what it waits for. */
async function watch(
  { config, output, interruption: { signal } }: CommandContext,
  store: P2PStore,
  name: string,
  deadline: Deadline,
): Promise<void> {
  const statuses = store.watchStatus(name, { signal, intervalMs: config.intervalMs });
  let next = await abortable(statuses.next(), deadline.signal);
  deadline[Symbol.dispose]();
  try {
    for (; next.done !== true; next = await statuses.next()) {
      output.block(statusEvent(next.value), statusLines(next.value));
    }
  } catch (error) {
    if (error !== signal.reason) throw error;
  }
}
