import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { COMMON_OPTIONS } from '../options.ts';
import { printable } from '../output.ts';
import { formatBytes, formatRate } from '../quantities.ts';
import { openStore } from '../session.ts';

export const statusCommand: Command = {
  name: 'status',
  summary: 'shows who serves one object',
  description:
    'Asks every source of an object how much of it it has: gold registered it, a replica pulled it, perhaps not all of it yet.',
  operands: [{ form: '<name>', summary: 'object' }],
  options: COMMON_OPTIONS,
  examples: [{ line: 'p2pstore status model.safetensors', summary: 'Who has it, and how much of it' }],
  run: runStatus,
};

async function runStatus(context: CommandContext): Promise<ExitCode> {
  const { config, operands, output, interruption } = context;
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  const { signal } = deadline;
  await using store = await openStore(context, signal);
  const { name, totalSize, verify, sources } = await store.status(operands[0] ?? '', { signal });
  const rows = sources.map(
    ({ segment, role, state, peerEndpoint, verifiedPieces, pieces, bytesPerSecond, isComplete }) => {
      const share = isComplete ? 1 : pieces === 0 ? 0 : verifiedPieces / pieces;
      const bytes = Math.round(totalSize * share);
      return { segment, role, state, bytes, bytesPerSecond, endpoint: peerEndpoint };
    },
  );
  for (const row of rows) output.event({ event: 'source', name, totalBytes: totalSize, ...row });
  output.line(`${printable(name)}: ${formatBytes(totalSize)}, verified by ${verify}`);
  output.table(
    ['SOURCE', 'ROLE', 'STATE', 'HAS', 'PULLS AT', 'ENDPOINT'],
    rows.map(({ segment, role, state, bytes, bytesPerSecond, endpoint }) => [
      segment,
      role,
      state,
      totalSize === 0 ? '100%' : `${Math.floor((bytes / totalSize) * 100)}%`,
      bytesPerSecond > 0 ? formatRate(bytesPerSecond) : '-',
      endpoint,
    ]),
  );
  return ExitCode.Done;
}
