import { forEachBounded } from '../../core/bounded.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import type { DownloadSource, GetReplicaOptions } from '../../index.ts';
import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { ExitCode } from '../exit-code.ts';
import { openMetrics } from '../metrics-server.ts';
import { COMMON_OPTIONS, PORT_OPTIONS, TRANSFER_OPTIONS } from '../options.ts';
import { type PullItem, planPull, type RemoteObject } from '../pull-plan.ts';
import { PullProgress } from '../pull-progress.ts';
import { openPullTarget, type PullTarget } from '../pull-target.ts';
import { formatBytes, formatCount, formatRate, formatSeconds } from '../quantities.ts';
import { serveUntilInterrupted } from '../serving.ts';
import { openStore, type P2PStore } from '../session.ts';
import { waitForObjects } from '../waiting.ts';

/** Objects pulled at once: enough to hide the round trips of small files behind the bytes of large ones. */
const PULLS_MAX = 8;

export const getCommand: Command = {
  name: 'get',
  summary: 'pulls an object to a file, or a folder',
  description:
    'Takes the bytes from every store that has them, checks every piece, and puts the file at its place only when it is whole; ' +
    'a file that is there is replaced. A name that ends in / stands for a folder that was published, or else for every object below it, and is pulled into a folder, all or nothing. ' +
    'While it pulls, and after that with --seed, it serves what it has to others. ' +
    'With --wait it may be started before the object is published.',
  operands: [{ form: '<name>', summary: 'object; folder or prefix when it ends in /' }],
  options: [
    ...COMMON_OPTIONS,
    ...PORT_OPTIONS,
    ...TRANSFER_OPTIONS,
    'output',
    'wait',
    'seed',
    'verify',
    'untilStdinEnds',
  ],
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
  await using _metrics = await openMetrics(context, store);
  const pulled = await findAndPull(context, store, name, deadline.signal);
  deadline[Symbol.dispose]();
  if (config.seed) await serveUntilInterrupted(context, { roots: [name], ...pulled });
  return ExitCode.Done;
}

async function findAndPull(
  context: CommandContext,
  store: P2PStore,
  name: string,
  signal: AbortSignal,
): Promise<{ readonly objects: number; readonly bytes: number }> {
  await using target = await openPullTarget(name, context.config.outputPath ?? '');
  await using wait = context.config.wait ? await waitForObjects(context, store, name, signal) : undefined;
  const objects = wait?.objects ?? (await store.list(name, { signal }));
  const items = planPull(name, objects);
  if (items.length === 0) throw await notFound(store, name, objects, signal);
  const bytes = items.reduce((total, item) => total + item.bytes, 0);
  await pull(context, store, { name, items, bytes, target, signal });
  return { objects: items.length, bytes };
}

/** Says what there is in place of a name that nobody serves. */
async function notFound(
  store: P2PStore,
  name: string,
  objects: readonly RemoteObject[],
  signal: AbortSignal,
): Promise<P2PStoreError> {
  const below = objects.filter((object) => object.name.startsWith(`${name}/`));
  const around = await folderAround(store, name, signal);
  let state = '';
  if (around !== undefined) state = `; it may be a part of the folder "${around}", which is pulled as a whole`;
  else if (below.some((object) => object.name === `${name}/`)) state = `; there is a folder "${name}/"`;
  else if (below.length > 0) state = `; below "${name}/" there are objects: ${below.length}`;
  return new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot get "${name}": nobody serves it${state}`, { name });
}

async function folderAround(store: P2PStore, name: string, signal: AbortSignal): Promise<string | undefined> {
  for (let end = name.indexOf('/') + 1; end > 0 && end < name.length; end = name.indexOf('/', end) + 1) {
    const around = name.slice(0, end);
    const objects = await store.list(around, { signal });
    if (objects.some((object) => object.name === around && object.files !== undefined)) return around;
  }
  return undefined;
}

interface Pull {
  readonly name: string;
  readonly items: readonly PullItem[];
  readonly bytes: number;
  readonly target: PullTarget;
  readonly signal: AbortSignal;
}

async function pull(
  context: CommandContext,
  store: P2PStore,
  { name, items, bytes, target, signal }: Pull,
): Promise<void> {
  const { config, output } = context;
  await target.open(items, signal);
  const progress = new PullProgress(output, name, bytes);
  const from = new Map<string, DownloadSource>();
  let files = 0;
  let origin: 'mooncake' | undefined;
  const pullItem = async (item: PullItem, itemSignal: AbortSignal): Promise<void> => {
    if (item.isEmptyFolder) return;
    const options: GetReplicaOptions = {
      signal: itemSignal,
      ...(config.verify && { verify: config.verify }),
      onProgress: ({ bytesDone, sources, origin: kind }) => progress.update(item.name, bytesDone, sources.length, kind),
    };
    const place = target.placeOf(item);
    const result =
      item.kind === 'folder'
        ? await store.getReplicaToFolder(item.name, place, options)
        : { ...(await store.getReplicaToFile(item.name, place, options)), files: 1 };
    files += result.files;
    origin ??= result.origin;
    progress.finish(item.name);
    for (const source of result.sources) {
      from.set(source.segment, { ...source, bytes: source.bytes + (from.get(source.segment)?.bytes ?? 0) });
    }
  };
  await forEachBounded(items, PULLS_MAX, signal, pullItem);
  await target.commit();
  const { seconds } = progress;
  const bytesPerSecond = bytes / seconds;
  const sources = [...from.values()].filter((source) => source.bytes > 0);
  const facts = {
    bytes,
    seconds,
    bytesPerSecond,
    sources: sources.length,
    objects: items.length,
    files,
    from: sources,
    ...(origin && { origin, verified: 'none' }),
  };
  const count = items.some(({ kind }) => kind === 'folder')
    ? formatCount(files, 'file')
    : formatCount(items.length, 'object');
  output.event(
    { event: 'complete', name, ...facts },
    `Got ${count}, ${formatBytes(bytes)}, in ${formatSeconds(seconds)} (${formatRate(bytesPerSecond)}).${
      origin === undefined ? '' : ' Not verified: it was registered by a Mooncake store, which keeps no digests.'
    }`,
  );
}
