import { forEachBounded } from '../../core/bounded.ts';
import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { COMMON_OPTIONS } from '../options.ts';
import { formatBytes } from '../quantities.ts';
import { openStore } from '../session.ts';

/** Look-ups of sources in flight. */
const LOOKUPS_MAX = 16;

export const listCommand: Command = {
  name: 'list',
  summary: 'shows the objects that somebody serves',
  description:
    'Prints every live object whose name starts with the prefix: its size, its shards and how many stores serve it. ' +
    "Objects of Mooncake's stores are marked as such: nothing vouches for their bytes.",
  operands: [{ form: '[prefix]', summary: 'what names start with; default: all' }],
  options: COMMON_OPTIONS,
  examples: [{ line: 'p2pstore list llama/ --metadata etcd://10.0.0.1:2379', summary: 'All objects below llama/' }],
  run: runList,
};

async function runList(context: CommandContext): Promise<ExitCode> {
  const { config, operands, output, interruption } = context;
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  const { signal } = deadline;
  await using store = await openStore(context, signal);
  const objects = await store.list(operands[0] ?? '', { signal });
  const sources = new Map<string, number>();
  await forEachBounded(objects, LOOKUPS_MAX, signal, async ({ name }, itemSignal) => {
    sources.set(name, (await store.sources(name, { signal: itemSignal })).length);
  });
  const rows = objects.map(({ name, totalSize, maxShardSize, sizeList, origin }) => ({
    name,
    bytes: totalSize,
    shards: sizeList.reduce((total, size) => total + Math.ceil(size / maxShardSize), 0),
    sources: sources.get(name) ?? 0,
    ...(origin && { origin }),
  }));
  for (const row of rows) output.event({ event: 'object', ...row });
  if (rows.length === 0) output.line('Nobody serves anything here.');
  else showTable(output, rows);
  return ExitCode.Done;
}

interface Row {
  readonly name: string;
  readonly bytes: number;
  readonly shards: number;
  readonly sources: number;
  readonly origin?: 'mooncake';
}

/** Says where objects come from only when that differs. */
function showTable(output: CommandContext['output'], rows: readonly Row[]): void {
  const hasOrigin = rows.some(({ origin }) => origin !== undefined);
  output.table(
    ['NAME', 'SIZE', 'SHARDS', 'SOURCES', ...(hasOrigin ? ['ORIGIN'] : [])],
    rows.map(({ name, bytes, shards, sources, origin }) => [
      ...[name, formatBytes(bytes), String(shards), String(sources)],
      ...(hasOrigin ? [origin === undefined ? '' : `${origin}, unverified`] : []),
    ]),
  );
}
