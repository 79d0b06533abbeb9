import fs from 'node:fs/promises';
import path from 'node:path';
import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import type { DownloadSource } from '../../index.ts';
import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { COMMON_OPTIONS } from '../options.ts';
import { OutputFolder } from '../output-folder.ts';
import { fileNameOf, type PullItem, planPull, type RemoteObject } from '../pull-plan.ts';
import { PullProgress } from '../pull-progress.ts';
import { formatBytes, formatCount, formatRate, formatSeconds } from '../quantities.ts';
import { serveUntilInterrupted } from '../serving.ts';
import { openStore, type P2PStore } from '../session.ts';
import { waitForObjects } from '../waiting.ts';

/** Objects pulled at once: enough to hide the round trips of small files behind the bytes of large ones. */
const PULLS_MAX = 8;

export const getCommand: Command = {
  name: 'get',
  summary: 'pulls an object to a file, or all below a prefix to a folder',
  description:
    'Takes the bytes from every store that has them, checks every piece, and puts the file at its place only when it is whole; ' +
    'a file that is there is replaced. A name that ends in / stands for everything below it and is pulled into a folder, all or nothing. ' +
    'While it pulls, and after that with --seed, it serves what it has to others. ' +
    'With --wait it may be started before the object is published.',
  operands: [{ form: '<name>', summary: 'object, or prefix that ends in /' }],
  options: [...COMMON_OPTIONS, 'output', 'wait', 'seed', 'verify', 'untilStdinEnds'],
  requiredOptions: ['output'],
  examples: [
    { line: 'p2pstore get model.safetensors --output ./model.safetensors', summary: 'One file' },
    {
      line: 'p2pstore get llama/step-1000/ --output ./checkpoint --seed --metadata etcd://10.0.0.1:2379',
      summary: 'A folder, which is then served on',
    },
    {
      line: 'p2pstore get llama/step-2000/ --output ./next --wait --timeout 1h --metadata etcd://10.0.0.1:2379',
      summary: 'A folder that will be published within the hour',
    },
  ],
  run: runGet,
};

async function runGet(context: CommandContext): Promise<ExitCode> {
  const { config, operands, interruption } = context;
  const name = operands[0] ?? '';
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  await using store = await openStore(context, deadline.signal);
  const { signal } = deadline;
  const objects = config.wait ? await waitForObjects(context, store, name, signal) : await store.list(name, { signal });
  const items = planItems(name, objects);
  const bytes = items.reduce((total, item) => total + item.bytes, 0);
  await pull(context, store, { name, items, bytes, signal });
  deadline[Symbol.dispose]();
  if (config.seed) await serveUntilInterrupted(context, { roots: [name], objects: items.length, bytes });
  return ExitCode.Done;
}

/** @throws P2P_OBJECT_NOT_FOUND */
function planItems(name: string, objects: readonly RemoteObject[]): PullItem[] {
  if (name.endsWith('/') && objects.length > 0) return planPull(name, objects);
  const object = objects.find((candidate) => candidate.name === name);
  if (object !== undefined) return [{ kind: 'file', name, relativePath: fileNameOf(name), bytes: object.totalSize }];
  const below = objects.filter((candidate) => candidate.name.startsWith(`${name}/`)).length;
  const state = below === 0 ? '' : `; there ${below === 1 ? 'is 1 object' : `are ${below} objects`} below "${name}/"`;
  throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot get "${name}": nobody serves it${state}`, { name });
}

interface Pull {
  readonly name: string;
  readonly items: readonly PullItem[];
  readonly bytes: number;
  readonly signal: AbortSignal;
}

async function pull(context: CommandContext, store: P2PStore, { name, items, bytes, signal }: Pull): Promise<void> {
  const { config, output } = context;
  await using target = await openTarget(name, items, config.outputPath ?? '');
  const progress = new PullProgress(output, name, bytes);
  const from = new Map<string, DownloadSource>();
  const pullItem = async (item: PullItem, itemSignal: AbortSignal): Promise<void> => {
    if (item.kind === 'folder') return;
    const result = await store.getReplicaToFile(item.name, target.stagedPath(item), {
      signal: itemSignal,
      ...(config.verify && { verify: config.verify }),
      onProgress: ({ bytesDone, sources }) => progress.update(item.name, bytesDone, sources.length),
    });
    progress.finish(item.name);
    for (const source of result.sources) {
      from.set(source.segment, { ...source, bytes: source.bytes + (from.get(source.segment)?.bytes ?? 0) });
    }
  };
  await forEachBounded(target.items, PULLS_MAX, signal, pullItem);
  await target.commit();
  const { seconds } = progress;
  const bytesPerSecond = bytes / seconds;
  const sources = [...from.values()].filter((source) => source.bytes > 0);
  output.event(
    {
      event: 'complete',
      name,
      bytes,
      seconds,
      bytesPerSecond,
      sources: sources.length,
      objects: items.length,
      from: sources,
    },
    `Got ${formatCount(items.length, 'object')}, ${formatBytes(bytes)}, in ${formatSeconds(seconds)} (${formatRate(bytesPerSecond)}).`,
  );
}

/** A prefix fills the folder `outputPath`; an object is a file of that path, or one in it when it is a folder. */
async function openTarget(name: string, items: readonly PullItem[], outputPath: string): Promise<OutputFolder> {
  if (outputPath === '') {
    throw new P2PStoreError(ErrorCode.InvalidArgument, 'Cannot use --output: it is empty', { argument: '--output' });
  }
  if (name.endsWith('/')) return OutputFolder.open(outputPath, items);
  const isFolder = await fs.stat(outputPath).then(
    (stats) => stats.isDirectory(),
    () => outputPath.endsWith('/'),
  );
  if (isFolder) return OutputFolder.open(outputPath, items);
  const file = path.resolve(outputPath);
  return OutputFolder.open(
    path.dirname(file),
    items.map((item) => ({ ...item, relativePath: path.basename(file) })),
  );
}
