/**
 * What the Transfer Engine reaches of what this machine can do: every round measures each case once, beside the C program
 * that does the same without us, so that a slow minute is slow for both. Memory was touched before.
 *
 *   npm run bench:engine -- [--only large,small,latency,local,cards] [--runs 9] [--size 1024] [--chart docs/images/engine.svg]
 *
 * `--size` in MiB. The first three rounds warm up and do not count: fresh processes move the first gigabytes at half to three
 * quarters of the rate that follows, until V8 has compiled what is hot. `cards` builds two hosts with shaped links between
 * them, which takes root, and runs three rounds at most.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type CardRow, measureCards } from './engine/cards.ts';
import { type Case, type Goal, isMet, type Measure, ratioOf, type Sample, valuesOf } from './engine/case.ts';
import { LOOPBACK_GOALS, openLoopbackBench } from './engine/loopback-cases.ts';
import { barOf, drawBarChart } from './support/bar-chart.ts';
import { printTable, writeReport } from './support/report.ts';
import { median } from './support/statistics.ts';

const MIB = 1024 * 1024;
const WARM_UP_ROUNDS = 3;
/** Each takes about ten seconds for every cut. */
const CARD_RUNS_MAX = 3;
const COLUMNS: readonly { readonly measure: Measure; readonly title: string; readonly digits: number }[] = [
  { measure: 'gigabytesPerSecond', title: 'GB/s', digits: 2 },
  { measure: 'cpuSecondsPerGigabyte', title: 'CPU s/GB', digits: 2 },
  { measure: 'p50', title: 'p50 us', digits: 0 },
  { measure: 'p99', title: 'p99 us', digits: 0 },
];

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    runs: { type: 'string', default: '9' },
    size: { type: 'string', default: '1024' },
    chart: { type: 'string' },
  },
});
const runs = Number(values.runs);
const sizeBytes = Number(values.size) * MIB;
const groups = values.only?.split(',');
const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));

async function measure(cases: readonly Case[]): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round < WARM_UP_ROUNDS + runs; round++) {
    // There and back, so that what comes first is not always the same.
    for (const { name, run } of round % 2 === 0 ? cases : cases.toReversed()) {
      const sample = await run();
      if (round >= WARM_UP_ROUNDS) samples.get(name)?.push(sample);
    }
  }
  return samples;
}

function formatMeasure(samples: readonly number[], digits: number): string {
  if (samples.length === 0) return '';
  const [low, high] = [Math.min(...samples), Math.max(...samples)];
  return `${median(samples).toFixed(digits)} (${low.toFixed(digits)}..${high.toFixed(digits)})`;
}

function printMeasures(cases: readonly Case[], samples: ReadonlyMap<string, readonly Sample[]>): void {
  printTable(
    cases.map(({ name }) => {
      const cells = COLUMNS.map(({ measure: key, title, digits }) => [
        title,
        formatMeasure(valuesOf(samples, name, key), digits),
      ]);
      return { case: name, ...(Object.fromEntries(cells) as Record<string, string>) };
    }),
  );
}

function resultsOf(goals: readonly Goal[], samples: ReadonlyMap<string, readonly Sample[]>): object[] {
  const results: Record<string, string>[] = [];
  for (const goal of goals) {
    const ratio = ratioOf(samples, goal);
    if (ratio === undefined) continue;
    const bound = goal.atLeast === undefined ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`;
    const hasBound = goal.atLeast !== undefined || goal.atMost !== undefined;
    const verdict = isMet(ratio, goal) ? 'yes' : 'no';
    results.push({
      'to reach': goal.what,
      ratio: ratio.toFixed(2),
      goal: hasBound ? bound : '',
      met: hasBound ? verdict : '',
    });
  }
  console.log();
  printTable(results);
  return results;
}

function printCards(rows: readonly CardRow[]): void {
  console.log();
  printTable(
    rows.map(({ name, value, unit, ceiling, ratio, goal, samples }) => ({
      'network cards': name,
      median: `${value.toFixed(0)} ${unit}`,
      'min..max': `${Math.min(...samples).toFixed(0)}..${Math.max(...samples).toFixed(0)}`,
      against: `${ceiling.toFixed(0)} ${unit}`,
      ratio: ratio.toFixed(2),
      goal,
    })),
  );
}

function drawChart(file: string, cases: readonly Case[], samples: ReadonlyMap<string, readonly Sample[]>): void {
  const bars = cases.flatMap(({ name, isReference }) => {
    const speeds = valuesOf(samples, name, 'gigabytesPerSecond');
    return speeds.length === 0 ? [] : [barOf(name, speeds, isReference)];
  });
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, drawBarChart('Two processes of one machine', 'GB/s, median and spread', bars));
}

function isWanted(group: string): boolean {
  return groups === undefined || groups.includes(group);
}

async function measureLoopback(): Promise<{ readonly results: object[]; readonly samples: Map<string, Sample[]> }> {
  const bench = await openLoopbackBench(sizeBytes, directory);
  const cases = bench.cases.filter(({ group }) => isWanted(group));
  const samples = await measure(cases).finally(() => bench.close());
  printMeasures(cases, samples);
  if (values.chart !== undefined) drawChart(values.chart, cases, samples);
  return { results: resultsOf(LOOPBACK_GOALS, samples), samples };
}

async function main(): Promise<void> {
  const hasLoopback = ['large', 'small', 'latency', 'local'].some(isWanted);
  const { results, samples } = hasLoopback
    ? await measureLoopback()
    : { results: [], samples: new Map<string, Sample[]>() };
  const hasCards = isWanted('cards') && process.getuid?.() === 0;
  const cards = hasCards ? await measureCards(Math.min(runs, CARD_RUNS_MAX)) : [];
  if (hasCards) printCards(cards);
  else if (isWanted('cards')) console.log('\nNetwork cards were left out: links between hosts take root');
  writeReport('engine', { sizeBytes, runs, results, cards, samples: Object.fromEntries(samples) });
}

try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
