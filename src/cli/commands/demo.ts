import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { requireFreeSpace } from '../../store/folder/output-folder.ts';
import type { Command, CommandContext } from '../command.ts';
import { openDeadline } from '../deadline.ts';
import { DemoChild } from '../demo-child.ts';
import { ExitCode } from '../exit-code.ts';
import type { OptionKey } from '../options.ts';
import type { OutputEvent } from '../output.ts';
import { PullProgress } from '../pull-progress.ts';
import { formatBytes, formatCount, formatRate, formatSeconds } from '../quantities.ts';
import { planTensors, writeSafetensors } from '../safetensors.ts';

const OPTION_KEYS: readonly OptionKey[] = [
  'size',
  'peers',
  'metadata',
  'transports',
  'timeout',
  'json',
  'quiet',
  'logLevel',
];
/** Room for the metadata and the file system's own needs, beside the files. */
const SPARE_BYTES = 64 * 1024 * 1024;
const DIGEST_CHUNK_BYTES = 1024 * 1024;

export const demoCommand: Command = {
  name: 'demo',
  summary: 'shows it all on this machine: one process serves a checkpoint, four pull it at once',
  description:
    'Makes a safetensors checkpoint in a temporary folder, publishes it from one process, pulls it into four others at once, ' +
    'compares all of them with the file, prints who got what from whom, and removes everything. ' +
    'Without --metadata it needs no server: its records are in that folder too.',
  operands: [],
  options: OPTION_KEYS,
  examples: [
    { line: 'p2pstore demo', summary: 'With 512 MiB and four peers' },
    { line: 'p2pstore demo --size 4GiB --peers 8', summary: 'With more of both' },
  ],
  run: runDemo,
};

/** What one peer reported, and what became of its file. */
interface PeerResult {
  readonly label: string;
  readonly complete: OutputEvent;
  readonly isVerified: boolean;
  /** Who sent how much: `seed 26%, peer-2 74%`. */
  readonly from: string;
}

async function runDemo(context: CommandContext): Promise<ExitCode> {
  const { config, output, interruption } = context;
  using deadline = openDeadline(interruption.signal, config.timeoutMs);
  const { signal } = deadline;
  await requireFreeSpace(os.tmpdir(), config.checkpointSizeBytes * (config.peers + 1) + SPARE_BYTES);
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2pstore-demo-'));
  try {
    const checkpoint = path.join(folder, 'checkpoint.safetensors');
    await makeCheckpoint(checkpoint, context, signal);
    const results = await runProcesses({ context, folder, checkpoint, signal });
    showResults(results, context);
    return results.every(({ isVerified }) => isVerified) ? ExitCode.Done : ExitCode.Failed;
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
    output.line('Stopped all processes and removed all files.');
  }
}

async function makeCheckpoint(file: string, { config, output }: CommandContext, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  const tensors = planTensors(config.checkpointSizeBytes);
  const bytes = await writeSafetensors(file, tensors, { seed: process.pid, signal });
  const seconds = (performance.now() - startedMs) / 1000;
  output.line(
    `Made a checkpoint of ${formatBytes(bytes)} with ${formatCount(tensors.length, 'tensor')} in ${formatSeconds(seconds)}.`,
  );
}

interface Stage {
  readonly context: CommandContext;
  readonly folder: string;
  readonly checkpoint: string;
  readonly signal: AbortSignal;
}

/** Runs the seed and the peers, and returns when all have stopped. */
async function runProcesses(stage: Stage): Promise<PeerResult[]> {
  const children: DemoChild[] = [];
  try {
    return await publishAndPull(stage, (child) => {
      children.push(child);
      return child;
    });
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

async function publishAndPull(stage: Stage, own: (child: DemoChild) => DemoChild): Promise<PeerResult[]> {
  const { context, folder, checkpoint, signal } = stage;
  const { config, output } = context;
  const metadataUri = config.isMetadataGiven ? config.metadataUri : `local:${path.join(folder, 'metadata')}`;
  const common = [
    '--metadata',
    metadataUri,
    ...(config.transports === undefined ? [] : ['--transports', config.transports.join(',')]),
    ...(config.logLevel === undefined ? [] : ['--log-level', config.logLevel]),
  ];
  const name = `${path.basename(folder)}/checkpoint.safetensors`;
  const { size: fileBytes } = await fs.stat(checkpoint);

  const onLog = (line: string): void => {
    if (config.logLevel !== undefined) output.log(line);
  };
  const seed = own(new DemoChild('seed', ['publish', checkpoint, '--name', name, ...common], { onLog }));
  const registered = await seed.event('registered', signal);
  output.event(registered, `Process "seed" serves it as ${name}.`);

  output.line(`${config.peers === 1 ? 'One other process pulls' : `${config.peers} other processes pull`} it at once.`);
  const progress = new PullProgress(output, name, fileBytes * config.peers);
  const peers = Array.from({ length: config.peers }, (_, index) => {
    const label = `peer-${index + 1}`;
    const file = path.join(folder, `${label}.safetensors`);
    const onEvent = (event: OutputEvent): void => {
      if (event.event === 'progress') progress.update(label, event.bytes ?? 0, event.sources ?? 0);
    };
    const args = ['get', name, '--output', file, '--seed', ...common];
    const child = new DemoChild(label, args, { onEvent, onLog });
    return { child: own(child), file };
  });
  const completions = await Promise.all(peers.map(({ child }) => child.event('complete', signal)));

  const labels = new Map<unknown, string>();
  for (const child of [seed, ...peers.map((peer) => peer.child)]) {
    labels.set((await child.event('serving', signal))['segment'], child.label);
  }

  output.line('Comparing every file with the original.');
  const wanted = await digestOf(checkpoint, signal);
  const results: PeerResult[] = [];
  for (const [index, { child, file }] of peers.entries()) {
    const complete = completions[index];
    if (complete === undefined) continue;
    const isVerified = (await digestOf(file, signal)) === wanted;
    results.push({ label: child.label, complete, isVerified, from: describeSources(complete, labels) });
  }
  return results;
}

/** @param labels - By segment. */
function describeSources({ from, bytes = 0 }: OutputEvent, labels: ReadonlyMap<unknown, string>): string {
  const sources: readonly { readonly segment: string; readonly bytes: number }[] = Array.isArray(from) ? from : [];
  const percent = (part: number): string => `${bytes === 0 ? 0 : Math.round((part / bytes) * 100)}%`;
  return sources.map((source) => `${labels.get(source.segment) ?? source.segment} ${percent(source.bytes)}`).join(', ');
}

async function digestOf(file: string, signal: AbortSignal): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: DIGEST_CHUNK_BYTES, signal })) digest.update(chunk);
  return digest.digest('hex');
}

function showResults(results: readonly PeerResult[], { output }: CommandContext): void {
  for (const { label, complete, isVerified } of results) {
    output.event({ ...complete, peer: label, verified: isVerified });
  }
  output.table(
    ['PEER', 'BYTES', 'TIME', 'RATE', 'VERIFIED', 'FROM'],
    results.map(({ label, complete, isVerified, from }) => [
      label,
      formatBytes(complete.bytes ?? 0),
      formatSeconds(complete.seconds ?? 0),
      formatRate(complete.bytesPerSecond ?? 0),
      isVerified ? 'yes' : 'NO',
      from,
    ]),
  );
}
