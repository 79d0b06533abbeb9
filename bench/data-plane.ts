/**
 * How fast bytes move between two processes over loopback, beside what the machine can do in the
 * same minutes: our C program with blocking sockets, and memcpy. Every round measures each case
 * once, so that a slow minute is slow for all. Memory was touched before.
 *
 *   npm run bench:data-plane -- [--runs 7] [--bytes 1073741824] [--chart docs/images/data-plane.svg]
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { barOf, drawBarChart } from './support/bar-chart.ts';
import { Child } from './support/child.ts';
import { printTable, writeReport } from './support/report.ts';
import { median } from './support/statistics.ts';

interface Sample {
  readonly seconds: number;
  /** Of both processes together. */
  readonly cpuSeconds: number;
  readonly peakBytes?: number;
}

interface Case {
  readonly name: string;
  /** The case that this one is measured against. */
  readonly ceiling?: string;
  /** Share of the ceiling to reach. */
  readonly goal?: number;
  run(): Promise<Sample>;
}

const MIB = 1024 * 1024;
const SHARD_BYTES = 64 * MIB;

const { values } = parseArgs({
  options: { runs: { type: 'string' }, bytes: { type: 'string' }, chart: { type: 'string' } },
});
const runs = Number(values.runs ?? 7);
const sizeBytes = Number(values.bytes ?? 1024 * MIB);
const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));
const metadata = `local:${path.join(directory, 'metadata')}`;

function program(name: string, ...args: string[]): Child {
  return Child.program(`data-plane/${name}`, [String(sizeBytes), metadata, ...args]);
}

/** Runs the receiving side's command and adds what the serving side spent meanwhile. */
async function both(receiver: Child, server: Child, command: string): Promise<Sample> {
  const before = await server.ask<{ cpuSeconds: number }>('cpu');
  const sample = await receiver.ask<Sample>(command);
  const after = await server.ask<{ cpuSeconds: number; peakBytes: number }>('cpu');
  return {
    seconds: sample.seconds,
    cpuSeconds: sample.cpuSeconds + after.cpuSeconds - before.cpuSeconds,
    peakBytes: Math.max(sample.peakBytes ?? 0, after.peakBytes) - sizeBytes,
  };
}

async function openCases(): Promise<{ cases: Case[]; children: Child[] }> {
  const binary = path.join(directory, 'ceiling');
  execFileSync('gcc', ['-O2', '-pthread', path.resolve('bench/native/ceiling.c'), '-o', binary]);
  const ceiling = new Child(binary, [String(sizeBytes)]);
  await ceiling.receive();
  const server = program('engine-server');
  const { segment, address } = await server.receive<{ segment: string; address: string }>();
  const client = program('engine-client', segment, address);
  await client.receive();
  const gold = program('store-gold');
  await gold.receive();
  const receiver = program('store-receiver');
  await receiver.receive();

  const pull = async (verify: string): Promise<Sample> => {
    const sample = await both(receiver, gold, `pull ${verify}`);
    await receiver.ask('delete');
    return sample;
  };

  const cases: Case[] = [{ name: 'memcpy, one thread', run: () => ceiling.ask('memcpy') }];
  for (const connections of [1, 2, 4]) {
    const name = `C sockets, ${connections} connections`;
    cases.push({ name, run: () => ceiling.ask(`sockets ${connections} ${MIB}`) });
    cases.push({
      name: `engine READ, ${connections} connections`,
      ceiling: name,
      goal: 0.9,
      run: () => both(client, server, `read ${connections} ${SHARD_BYTES}`),
    });
  }
  const top = 'C sockets, 4 connections';
  cases.push(
    { name: 'getReplica, xxh64', ceiling: top, goal: 0.7, run: () => pull('xxh64') },
    { name: 'getReplica, none', ceiling: top, goal: 0.88, run: () => pull('none') },
    {
      name: 'engine READ, server busy 90 %',
      ceiling: 'engine READ, 4 connections',
      goal: 0.6,
      run: async () => {
        await server.ask('busy');
        const sample = await client.ask<Sample>(`read 4 ${SHARD_BYTES}`);
        await server.ask('idle');
        return { seconds: sample.seconds, cpuSeconds: Number.NaN };
      },
    },
  );
  return { cases, children: [receiver, gold, client, server, ceiling] };
}

async function main(): Promise<void> {
  const { cases, children } = await openCases();
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round <= runs; round++) {
    for (const { name, run } of cases) {
      const sample = await run();
      if (round > 0) samples.get(name)?.push(sample); // the first round warms up
    }
  }
  for (const child of children) await child[Symbol.asyncDispose]();

  const gigabytes = sizeBytes / 1e9;
  const rate = (name: string): number => median((samples.get(name) ?? []).map(({ seconds }) => gigabytes / seconds));
  printTable(
    cases.map(({ name, ceiling, goal }) => {
      const own = samples.get(name) ?? [];
      const rates = own.map(({ seconds }) => gigabytes / seconds);
      const cpu = median(own.map(({ cpuSeconds }) => cpuSeconds / gigabytes));
      const peak = Math.max(0, ...own.map(({ peakBytes }) => peakBytes ?? 0)) / 1e6;
      return {
        case: name,
        'GB/s': rate(name).toFixed(2),
        'min..max': `${Math.min(...rates).toFixed(2)}..${Math.max(...rates).toFixed(2)}`,
        'of ceiling': ceiling === undefined ? '' : (rate(name) / rate(ceiling)).toFixed(2),
        goal: goal === undefined ? '' : `>= ${goal.toFixed(2)}`,
        'CPU s/GB': Number.isNaN(cpu) ? '' : cpu.toFixed(2),
        'extra MB': peak === 0 ? '' : peak.toFixed(0),
      };
    }),
  );
  if (values.chart !== undefined) {
    const bars = cases
      .filter(({ name }) => !name.startsWith('memcpy'))
      .map(({ name, ceiling }) => {
        const rates = (samples.get(name) ?? []).map(({ seconds }) => gigabytes / seconds);
        return barOf(name, rates, ceiling === undefined);
      });
    mkdirSync(path.dirname(values.chart), { recursive: true });
    writeFileSync(
      values.chart,
      drawBarChart('1 GiB between two processes over loopback TCP', 'GB/s, median and spread', bars),
    );
  }
  writeReport('data-plane', { sizeBytes, runs, samples: Object.fromEntries(samples) });
}

try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
