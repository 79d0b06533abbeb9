import { forEachBounded } from '../../core/bounded.ts';
import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { openMetrics } from '../metrics-server.ts';
import { COMMON_OPTIONS, PORT_OPTIONS, TRANSFER_OPTIONS } from '../options.ts';
import { type PublishItem, planPublish } from '../publish-plan.ts';
import { formatBytes, formatCount, formatSeconds } from '../quantities.ts';
import { serveUntilInterrupted } from '../serving.ts';
import { openStore, type P2PStore } from '../session.ts';

/** Registrations in flight: each is two small writes to the metadata store. */
const REGISTRATIONS_MAX = 16;

export const publishCommand: Command = {
  name: 'publish',
  summary: 'serves files and folders until interrupted',
  description:
    'Maps files into memory, without a copy, and serves them under a name until SIGINT or SIGTERM; then nothing of them stays listed. ' +
    'A file becomes one object, and so does a folder, whose name ends in /. Links are followed; files of a folder below 256 KiB are copied into memory.',
  operands: [{ form: '<path...>', summary: 'files and folders to serve' }],
  options: [
    ...COMMON_OPTIONS,
    ...PORT_OPTIONS,
    ...TRANSFER_OPTIONS,
    'name',
    'force',
    'verify',
    'pieceSize',
    'receivers',
    'untilStdinEnds',
  ],
  examples: [
    { line: 'p2pstore publish model.safetensors', summary: 'One file, to other terminals of this machine' },
    {
      line: 'p2pstore publish ./checkpoint --name llama/step-1000 --metadata etcd://10.0.0.1:2379',
      summary: 'A folder, to other machines',
    },
  ],
  run: runPublish,
};

async function runPublish(context: CommandContext): Promise<ExitCode> {
  const { config, operands, output, interruption } = context;
  const plan = await planPublish(operands, config.name);
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  await using store = await openStore(context, deadline.signal);
  await using _metrics = await openMetrics(context, store);
  const startedMs = performance.now();
  let bytes = 0;
  await forEachBounded(plan.items, REGISTRATIONS_MAX, deadline.signal, async (item, signal) => {
    const itemStartedMs = performance.now();
    const registered = await register(store, item, context, signal);
    const seconds = (performance.now() - itemStartedMs) / 1000;
    bytes += registered.bytes;
    output.event({ event: 'registered', name: item.name, ...registered, seconds, sources: 1 });
  });
  deadline[Symbol.dispose]();
  const seconds = (performance.now() - startedMs) / 1000;
  output.line(
    `Registered ${formatCount(plan.items.length, 'object')}, ${formatBytes(bytes)}, in ${formatSeconds(seconds)}.`,
  );
  await serveUntilInterrupted(context, { roots: plan.roots, objects: plan.items.length, bytes });
  return ExitCode.Done;
}

async function register(
  store: P2PStore,
  item: PublishItem,
  { config }: CommandContext,
  signal: AbortSignal,
): Promise<{ readonly bytes: number; readonly files?: number }> {
  const { maxShardSizeBytes: maxShardSize, pieceSizeBytes: pieceSize, receivers, force, verify } = config;
  const options = { signal, force, verify, maxShardSize, pieceSize, receivers };
  if (item.kind === 'folder') {
    const { files, totalSize } = await store.registerFolder(item.name, item.path, options);
    return { bytes: totalSize, files };
  }
  await store.registerFile(item.name, item.path, options);
  return { bytes: item.bytes };
}
