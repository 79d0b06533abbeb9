/** What `publish` and `get --seed` have in common: serving until somebody says stop. */
import type { CommandContext } from './command.ts';
import { withoutCredentials } from './exit-code.ts';
import { shellWord } from './output.ts';
import { formatBytes, formatCount } from './quantities.ts';

export interface Served {
  /** What a `get` asks for: names, or prefixes that end in `/`. */
  readonly roots: readonly string[];
  readonly objects: number;
  readonly bytes: number;
}

/** Says what is served and how to get it, and waits for the interruption. */
export async function serveUntilInterrupted(context: CommandContext, served: Served): Promise<void> {
  const { config, output, interruption } = context;
  const { roots, objects, bytes } = served;
  output.event({
    event: 'serving',
    ...(roots[0] === undefined ? {} : { name: roots[0] }),
    bytes,
    objects,
    metadata: withoutCredentials(config.metadataUri),
    segment: config.segmentName,
  });
  output.line(
    `Serving ${formatCount(objects, 'object')}, ${formatBytes(bytes)}, as ${config.segmentName}. Ctrl-C stops.`,
  );
  const isOneMachine = /^(local|memory):/.test(config.metadataUri);
  output.line(isOneMachine ? 'To get it in another terminal:' : 'To get it on another machine:');
  for (const root of roots) output.line(`  ${getCommandLine(root, context)}`);
  await interruption.wait();
  output.line('Stopping.');
}

function getCommandLine(root: string, { config }: CommandContext): string {
  const target = root.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const metadata = config.isMetadataGiven ? ` --metadata ${shellWord(withoutCredentials(config.metadataUri))}` : '';
  return `p2pstore get ${shellWord(root)} --output ${shellWord(`./${target}`)}${metadata}`;
}
