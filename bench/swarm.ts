/**
 * How long several receivers take that start together over loopback, beside the time in which C sockets would move
 * as many bytes in the same minutes. Nothing is shaped, so this is about processors, not links; the laboratory
 * (`npm run lab`) is about links.
 *
 *   npm run bench:swarm -- [--runs 5] [--receivers 4] [--bytes 1073741824]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Child } from './support/child.ts';
import { printTable, writeReport } from './support/report.ts';
import { median } from './support/statistics.ts';

interface Pull {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly goldBytes: number;
}

interface Round {
  /** C sockets, 4 connections, the bytes of one object. */
  readonly ceilingSeconds: number;
  readonly makespanSeconds: number;
  readonly cpuSeconds: number;
  /** What the gold source sent, in objects. */
  readonly goldCopies: number;
}

const MIB = 1024 * 1024;
const goal = 1.6;

const { values } = parseArgs({
  options: { runs: { type: 'string' }, receivers: { type: 'string' }, bytes: { type: 'string' } },
});
const runs = Number(values.runs ?? 5);
const receiverCount = Number(values.receivers ?? 4);
const sizeBytes = Number(values.bytes ?? 1024 * MIB);

async function measure(ceiling: Child, gold: Child, receivers: readonly Child[]): Promise<Round> {
  const { seconds: ceilingSeconds } = await ceiling.ask<{ seconds: number }>(`sockets 4 ${MIB}`);
  const before = await gold.ask<{ cpuSeconds: number }>('cpu');
  const startMs = performance.now();
  const pulls = await Promise.all(receivers.map((receiver) => receiver.ask<Pull>('pull xxh64')));
  const makespanSeconds = (performance.now() - startMs) / 1000;
  const after = await gold.ask<{ cpuSeconds: number }>('cpu');
  await Promise.all(receivers.map((receiver) => receiver.ask('delete')));
  return {
    ceilingSeconds,
    makespanSeconds,
    cpuSeconds: pulls.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, after.cpuSeconds - before.cpuSeconds),
    goldCopies: pulls.reduce((sum, { goldBytes }) => sum + goldBytes, 0) / sizeBytes,
  };
}

async function main(): Promise<void> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));
  const children: Child[] = [];
  try {
    const metadata = `local:${path.join(directory, 'metadata')}`;
    const binary = path.join(directory, 'ceiling');
    execFileSync('gcc', ['-O2', '-pthread', path.resolve('bench/native/ceiling.c'), '-o', binary]);
    const start = async (child: Child): Promise<Child> => {
      children.unshift(child);
      await child.receive();
      return child;
    };
    const program = (name: string): Child => Child.program(`data-plane/${name}`, [String(sizeBytes), metadata]);
    const ceiling = await start(new Child(binary, [String(sizeBytes)]));
    const gold = await start(program('store-gold'));
    const receivers: Child[] = [];
    for (let at = 0; at < receiverCount; at++) receivers.push(await start(program('store-receiver')));
    const rounds: Round[] = [];
    for (let round = 0; round <= runs; round++) {
      const sample = await measure(ceiling, gold, receivers);
      if (round > 0) rounds.push(sample); // the first round warms up
    }
    report(rounds);
  } finally {
    for (const child of children) await child[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  }
}

function report(rounds: readonly Round[]): void {
  const of = (pick: (round: Round) => number): string => median(rounds.map(pick)).toFixed(2);
  const gigabytes = sizeBytes / 1e9;
  printTable([
    {
      receivers: String(receiverCount),
      'makespan, s': of(({ makespanSeconds }) => makespanSeconds),
      'C sockets, GB/s': of(({ ceilingSeconds }) => gigabytes / ceilingSeconds),
      'makespan / C for all bytes': of(
        ({ makespanSeconds, ceilingSeconds }) => makespanSeconds / (receiverCount * ceilingSeconds),
      ),
      goal: `<= ${goal}`,
      'gold, objects sent': of(({ goldCopies }) => goldCopies),
      'CPU s/GB received': of(({ cpuSeconds }) => cpuSeconds / (receiverCount * gigabytes)),
    },
  ]);
  writeReport('swarm', { sizeBytes, receivers: receiverCount, runs, rounds });
}

await main();
