/**
 * How long would a swarm of thousands take? Runs the product's scheduler on virtual time; docs/simulator.md says what is
 * modelled.
 *
 *   npm run sim -- [--receivers 64,1000] [--pieces 1024] [--churn 0.1] [--spread 10] ...
 */
import { writeFile } from 'node:fs/promises';
import { median } from '../bench/support/statistics.ts';
import { type CaseResult, runCase } from './case.ts';
import { parseSimOptions, type SimOptions, USAGE, UsageError } from './options.ts';
import { drawPlot } from './plot.ts';

const ExitCode = { Done: 0, Failed: 1, Usage: 2 } as const;

const COLUMNS: readonly {
  readonly title: string;
  readonly value: (run: CaseResult) => number;
  readonly digits: number;
}[] = [
  { title: 'time s', value: ({ timeMs }) => timeMs / 1_000, digits: 1 },
  { title: 'time/bound', value: ({ ratio }) => ratio, digits: 3 },
  { title: 'p99/p50', value: ({ ownMs }) => ownMs.p99 / ownMs.p50, digits: 3 },
  { title: 'gold/size', value: ({ goldCopies }) => goldCopies, digits: 2 },
  { title: 'refused/piece', value: ({ refusedPerPiece }) => refusedPerPiece, digits: 2 },
  { title: 'messages/piece', value: ({ messagesPerPiece }) => messagesPerPiece, digits: 1 },
  { title: 'CPU s', value: ({ cpuSeconds }) => cpuSeconds, digits: 1 },
];

async function main(args: readonly string[]): Promise<number> {
  const options = parseSimOptions(args);
  if (options === undefined) {
    console.log(USAGE);
    return ExitCode.Done;
  }
  console.log(describe(options));
  console.log(`${'receivers'.padStart(9)}${COLUMNS.map(({ title }) => title.padStart(title.length + 2)).join('')}`);
  const cases = options.receivers.map((receivers) => {
    const runs = Array.from({ length: options.runs }, (_, run) => runCase(options, receivers, options.seed + run));
    console.log(formatRow(receivers, runs));
    return { receivers, ratio: median(runs.map(({ ratio }) => ratio)), runs };
  });
  if (options.jsonFile !== undefined) {
    await writeFile(options.jsonFile, `${JSON.stringify({ options, cases }, null, 2)}\n`);
  }
  if (options.svgFile !== undefined) {
    await writeFile(options.svgFile, drawPlot('N receivers in the time of one', describe(options), cases));
  }
  return ExitCode.Done;
}

function describe({ pieces, pieceBytes, rate, spread, churn, seed, runs }: SimOptions): string {
  const mbit = (rate * 8) / 1_000;
  const links = spread === 1 ? `links of ${mbit} Mbit/s` : `links of ${mbit} to ${mbit * spread} Mbit/s`;
  const change = churn === 0 ? '' : `, ${churn * 100} % die and as many join`;
  return `${pieces} pieces of ${pieceBytes / 1_024} KiB, ${links}${change}; median of ${runs}, seed ${seed}`;
}

function formatRow(receivers: number, runs: readonly CaseResult[]): string {
  const cells = COLUMNS.map(({ title, value, digits }) =>
    median(runs.map(value))
      .toFixed(digits)
      .padStart(title.length + 2),
  );
  return `${String(receivers).padStart(9)}${cells.join('')}`;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError;
  console.error(`sim: ${error instanceof Error ? error.message : String(error)}`);
  if (isUsage) console.error('Try npm run sim -- --help');
  process.exitCode = isUsage ? ExitCode.Usage : ExitCode.Failed;
}
