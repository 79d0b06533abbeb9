/**
 * Mooncake's own benchmark against its engine and against ours, and ours against ours, all over TCP of this machine in
 * the same minutes: every round measures each case once, so that a slow minute is slow for all. Their engine runs with its
 * best settings found here: one submitting thread, since its threads spin, and its pool of connections. Both targets are
 * written to before, so that no memory of theirs is the page of zeros that the kernel lends; every initiator is new.
 *
 *   tools/interop-venv   # once
 *   npm run bench:interop -- [--rounds 5] [--seconds 3] [--only '64 KiB'] [--chart docs/images/interop.svg]
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { HttpMetadataClient } from '../src/metadata/http/http-metadata-client.ts';
import { MetadataServer } from '../src/metadata/http/metadata-server.ts';
import { barOf, drawBarChart } from './support/bar-chart.ts';
import { Child } from './support/child.ts';
import { printTable, writeReport } from './support/report.ts';
import { median } from './support/statistics.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const MEMORY_BYTES = 256 * MIB;
const THEIR_BENCH = path.resolve('.cache/interop/venv/bin/transfer_engine_bench');
const STARTING_MS = 30_000;
const WARMING_SECONDS = 2;

const BLOCKS = [
  { name: '64 KiB', blockBytes: 64 * KIB, batchSize: 128 },
  { name: '1 MiB', blockBytes: MIB, batchSize: 32 },
  { name: '4 MiB', blockBytes: 4 * MIB, batchSize: 16 },
  { name: '64 MiB', blockBytes: 64 * MIB, batchSize: 2 },
] as const;
const CONNECTIONS = [1, 4] as const;

const PAIRS = ['theirs from theirs', 'theirs from ours', 'ours from ours'] as const;
type Pair = (typeof PAIRS)[number];

/** As target ours may be slower than theirs by 5 %; ours from ours is half again as fast at least, where setting up does not count. */
const GOALS: Readonly<Record<Pair, (blockBytes: number) => number | undefined>> = {
  'theirs from theirs': () => undefined,
  'theirs from ours': () => 0.95,
  'ours from ours': (blockBytes) => (blockBytes >= MIB ? 1.5 : undefined),
};

interface Case {
  readonly pair: Pair;
  readonly block: (typeof BLOCKS)[number];
  readonly connections: number;
  readonly rates: number[];
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string' },
    chart: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
/** Whole ones, as their benchmark takes them. */
const seconds = Math.ceil(Number(values.seconds));

function theirArguments(metadata: string, name: string, ...more: readonly string[]): string[] {
  const common = ['--protocol=tcp', `--metadata_server=${metadata}`, `--local_server_name=${name}`];
  return [...common, `--buffer_size=${MEMORY_BYTES}`, ...more];
}

function theirEnvironment(connections: number): NodeJS.ProcessEnv {
  return {
    ...process.env,
    MC_FORCE_TCP: '1',
    MC_TCP_BIND_ADDRESS: '127.0.0.1',
    MC_TCP_ENABLE_CONNECTION_POOL: '1',
    MC_TCP_LANES_PER_PEER: String(connections),
  };
}

async function startTheirTarget(metadata: string): Promise<ChildProcess> {
  const target = spawn(THEIR_BENCH, theirArguments(metadata, 'their-target', '--mode=target'), {
    env: theirEnvironment(1),
    stdio: 'ignore',
    detached: true, // its launcher is a script: the group is ended as one
  });
  target.on('error', () => {});
  const records = new HttpMetadataClient(metadata);
  const deadlineMs = performance.now() + STARTING_MS;
  for (let buffers = ''; !buffers.includes('"addr"'); ) {
    if (performance.now() > deadlineMs) throw new Error('Cannot start their target: run tools/interop-venv first');
    await new Promise((resolve) => setTimeout(resolve, 100));
    buffers = Buffer.from((await records.get('mooncake/ram/their-target')) ?? []).toString();
  }
  return target;
}

type Load = Pick<Case, 'block' | 'connections'>;

async function runTheirInitiator(
  metadata: string,
  target: string,
  { block, connections }: Load,
  operation: 'read' | 'write' = 'read',
): Promise<number> {
  const args = theirArguments(
    metadata,
    'their-initiator',
    '--mode=initiator',
    `--operation=${operation}`,
    `--segment_id=${target}`,
    `--block_size=${block.blockBytes}`,
    `--batch_size=${block.batchSize}`,
    '--threads=1',
    `--duration=${operation === 'read' ? seconds : WARMING_SECONDS}`,
    '--report_precision=4',
  );
  const { stdout, stderr } = await promisify(execFile)(THEIR_BENCH, args, {
    env: theirEnvironment(connections),
    maxBuffer: 64 * MIB,
  });
  const [, rate] = /throughput ([\d.]+) GB\/s/.exec(stdout + stderr) ?? [];
  if (rate === undefined) throw new Error(`Cannot read what their benchmark said: ${stderr.slice(-1000)}`);
  return Number(rate);
}

async function runOurInitiator(metadata: string, { block, connections }: Load): Promise<number> {
  const { blockBytes, batchSize } = block;
  const args = [MEMORY_BYTES, metadata, 'our-target', blockBytes, batchSize, connections, seconds].map(String);
  await using initiator = Child.program('interop/our-initiator', args);
  return (await initiator.receive<{ rate: number }>()).rate;
}

function measureOnce(metadata: string, each: Case): Promise<number> {
  switch (each.pair) {
    case 'ours from ours':
      return runOurInitiator(metadata, each);
    case 'theirs from ours':
      return runTheirInitiator(metadata, 'our-target', each);
    case 'theirs from theirs':
      return runTheirInitiator(metadata, 'their-target', each);
  }
}

async function measure(cases: readonly Case[]): Promise<void> {
  await using service = await MetadataServer.open();
  const metadata = service.uri;
  const theirTarget = await startTheirTarget(metadata);
  try {
    await using ourTarget = Child.program('interop/our-target', [String(MEMORY_BYTES), metadata, 'our-target']);
    await ourTarget.receive();
    const largest = { block: BLOCKS[3], connections: 1 };
    for (const target of ['their-target', 'our-target']) await runTheirInitiator(metadata, target, largest, 'write');
    for (let round = 0; round < rounds; round++) {
      for (const each of cases) each.rates.push(await measureOnce(metadata, each));
    }
  } finally {
    if (theirTarget.pid !== undefined && theirTarget.exitCode === null) {
      const ended = once(theirTarget, 'exit');
      process.kill(-theirTarget.pid, 'SIGKILL');
      await ended;
    }
  }
}

function labelOf({ block, connections, pair }: Case): string {
  return `${block.name}, ${connections} connection${connections === 1 ? '' : 's'}, ${pair}`;
}

async function main(): Promise<void> {
  const blocks = BLOCKS.filter(({ name }) => name === (values.only ?? name));
  if (blocks.length === 0) throw new Error(`--only takes one of ${BLOCKS.map(({ name }) => name).join(', ')}`);
  const cases: Case[] = blocks.flatMap((block) =>
    CONNECTIONS.flatMap((connections) => PAIRS.map((pair) => ({ pair, block, connections, rates: [] }))),
  );
  await measure(cases);
  const referenceOf = ({ block, connections }: Case): Case | undefined =>
    cases.find(
      (other) => other.pair === 'theirs from theirs' && other.block === block && other.connections === connections,
    );
  const ratioOf = (each: Case): number => median(each.rates) / median(referenceOf(each)?.rates ?? []);
  printTable(
    cases.map((each) => {
      const goal = GOALS[each.pair](each.block.blockBytes);
      return {
        case: labelOf(each),
        'GB/s': median(each.rates).toFixed(2),
        'min..max': `${Math.min(...each.rates).toFixed(2)}..${Math.max(...each.rates).toFixed(2)}`,
        'of theirs': each.pair === 'theirs from theirs' ? '' : ratioOf(each).toFixed(2),
        goal: goal === undefined ? '' : `>= ${goal.toFixed(2)}`,
        reached: goal === undefined ? '' : ratioOf(each) >= goal ? 'yes' : 'no',
      };
    }),
  );
  if (values.chart !== undefined) {
    const bars = cases.map((each) => barOf(labelOf(each), each.rates, each.pair === 'theirs from theirs'));
    mkdirSync(path.dirname(values.chart), { recursive: true });
    writeFileSync(
      values.chart,
      drawBarChart(
        "READs with Mooncake's engine (theirs) and ours, TCP on one machine",
        'GB/s, median and spread',
        bars,
      ),
    );
  }
  const samples = cases.map(({ pair, block, connections, rates }) => ({ pair, ...block, connections, rates }));
  writeReport('interop', { rounds, seconds, samples });
}

await main();
