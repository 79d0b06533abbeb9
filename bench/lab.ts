/**
 * N receivers in the time of one? Real `p2pstore` processes on hosts of their own, each behind shaped links, on one
 * machine. docs/lab.md says what is measured and how.
 *
 *   npm run lab -- [--hosts 16] [--rate 100mbit] [--size 128MiB] [--runs 3] ...      as root
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatBytes } from '../src/cli/quantities.ts';
import { type Curve, drawCompletionChart, type Mark } from './lab/completion-chart.ts';
import { Laboratory } from './lab/laboratory.ts';
import { CONGESTION_CONTROL, MTU_BYTES } from './lab/network.ts';
import { type LabOptions, parseLabOptions, USAGE, UsageError } from './lab/options.ts';
import { whatIsMissing } from './lab/requirements.ts';
import { Case, type CaseOptions, type CaseResult } from './lab/scenario.ts';
import { boundRatio, makespan, printSummary, summarize } from './lab/summary.ts';
import { describeMachine } from './support/machine.ts';
import { median } from './support/statistics.ts';

const ExitCode = { Done: 0, Failed: 1, Usage: 2, Interrupted: 130 } as const;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Beyond the time of plain client and server, with all that a loaded machine adds. */
const DEADLINE_MS_MIN = 60_000;
const DEADLINE_FACTOR = 3;

interface Results {
  readonly alone: readonly CaseResult[];
  readonly together: readonly CaseResult[];
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseLabOptions(args);
  if (options === undefined) {
    console.log(USAGE);
    return ExitCode.Done;
  }
  const missing = whatIsMissing(options);
  if (missing !== undefined) throw new Error(`Cannot build a laboratory: ${missing}`);
  const interruption = new AbortController();
  for (const name of SIGNALS) process.on(name, () => interruption.abort(new DOMException(name, 'AbortError')));
  try {
    const results = await measure(options, interruption.signal);
    await report(options, results);
    return ExitCode.Done;
  } catch (error) {
    if (!interruption.signal.aborted) throw error;
    console.error(`lab: interrupted by ${interruption.signal.reason.message}; everything is torn down`);
    return ExitCode.Interrupted;
  }
}

async function measure(options: LabOptions, signal: AbortSignal): Promise<Results> {
  await using lab = await Laboratory.open(options);
  signal.throwIfAborted();
  console.log(describeLab(options));
  const alone: CaseResult[] = [];
  const together: CaseResult[] = [];
  const { hosts, staggerMs, kill } = options;
  // In turns, so that a slow minute of the machine is slow for both.
  for (let round = 1; round <= options.runs; round++) {
    alone.push(await runCase(lab, { name: `alone-${round}`, receivers: 1, staggerMs, kill: 0 }, signal));
    together.push(await runCase(lab, { name: `together-${round}`, receivers: hosts, staggerMs, kill }, signal));
  }
  if (options.keepLogs) console.log(`logs: ${lab.logFolder}`);
  return { alone, together };
}

async function runCase(lab: Laboratory, caseOptions: CaseOptions, signal: AbortSignal): Promise<CaseResult> {
  const { bitsPerSecond, sizeBytes, slowHost, staggerMs } = lab.options;
  const oneMs = (sizeBytes * 8_000) / bitsPerSecond;
  const worstMs = oneMs * Math.max(caseOptions.receivers, 1 / (slowHost ?? 1));
  const deadline = AbortSignal.timeout(
    Math.round(DEADLINE_MS_MIN + DEADLINE_FACTOR * worstMs + staggerMs * caseOptions.receivers),
  );
  const run = new Case(lab, caseOptions);
  try {
    const result = await run.run(AbortSignal.any([signal, deadline]));
    console.log(`${caseOptions.name}: ${makespan(result).toFixed(2)} s`);
    if (result.badEnds.length > 0) console.log(`  did not end well when asked to stop: ${result.badEnds.join(', ')}`);
    return result;
  } catch (error) {
    if (signal.aborted || !deadline.aborted) throw error;
    throw new Error(`${caseOptions.name} did not end in time: ${run.describeProgress()}`, { cause: error });
  }
}

function describeLab({ hosts, bitsPerSecond, sizeBytes }: LabOptions): string {
  const links = `links of ${bitsPerSecond / 1e6} Mbit/s each way (htb, MTU ${MTU_BYTES}, TCP ${CONGESTION_CONTROL})`;
  return `${hosts} receivers and a source, ${formatBytes(sizeBytes)}, ${links}\n`;
}

async function report(options: LabOptions, results: Results): Promise<void> {
  const measures = summarize(options, results.alone, results.together);
  console.log('');
  printSummary(measures);
  const { svgFile, jsonFile } = options;
  if (svgFile !== undefined) await write(svgFile, draw(options, results));
  if (jsonFile !== undefined) {
    const facts = { machine: describeMachine(), options, measures, ...results };
    await write(jsonFile, `${JSON.stringify(facts, null, 2)}\n`);
  }
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  await writeFile(file, text);
  console.log(`\n${path.resolve(file)}`);
}

/** Draws the runs of middle makespan. */
function draw(options: LabOptions, { alone, together }: Results): string {
  const { hosts, sizeBytes, bitsPerSecond, staggerMs, kill, slowHost, halfUplink } = options;
  const one = middleRun(alone);
  const all = middleRun(together);
  const aloneSeconds = median(alone.map(makespan));
  const isTogether = staggerMs === 0;
  const bound = isTogether && all.pieces !== undefined ? aloneSeconds * boundRatio(hosts, all.pieces) : undefined;
  const ratio = (makespan(all) / aloneSeconds).toFixed(2);
  const marks: Mark[] = [
    { label: `one alone ${aloneSeconds.toFixed(2)} s`, seconds: aloneSeconds },
    ...(bound === undefined ? [] : [{ label: `bound ${bound.toFixed(2)} s`, seconds: bound }]),
    { label: `last healthy ${makespan(all).toFixed(2)} s = ${ratio} x one alone`, seconds: makespan(all) },
  ];
  const curves: Curve[] = [
    { kind: 'alone', points: one.receivers[0]?.curve ?? [] },
    ...all.receivers.map(({ kind, curve }) => ({ kind, points: curve })),
  ];
  const conditions = [
    isTogether ? 'all start together' : `starting ${staggerMs / 1000} s apart`,
    ...(kill > 0 ? [`${kill} killed on the way`] : []),
    ...(slowHost === undefined ? [] : [`one host at ${slowHost} of the speed`]),
    ...(halfUplink ? ['one host with half the uplink'] : []),
  ];
  return drawCompletionChart({
    title: `${hosts} receivers and one source, ${formatBytes(sizeBytes)}, links of ${bitsPerSecond / 1e6} Mbit/s`,
    subtitle: conditions.join(', '),
    xTitle: isTogether ? 'seconds since the publication' : "seconds since each receiver's own start",
    curves,
    marks,
  });
}

function middleRun(runs: readonly CaseResult[]): CaseResult {
  const sorted = [...runs].sort((a, b) => makespan(a) - makespan(b));
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  if (middle === undefined) throw new Error('Cannot draw: nothing was measured');
  return middle;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = error instanceof UsageError ? ExitCode.Usage : ExitCode.Failed;
  console.error(`lab: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof UsageError) console.error(`\n${USAGE}`);
}
