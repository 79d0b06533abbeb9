import { printTable } from '../support/report.ts';
import { median, quantile } from '../support/statistics.ts';
import type { LabOptions } from './options.ts';
import type { CaseResult } from './scenario.ts';

/** One number of the result: the median over the runs, and the runs. */
export interface Measure {
  readonly label: string;
  readonly unit: '' | 's' | 'MB';
  readonly median: number;
  readonly runs: readonly number[];
}

/** The seconds of the receivers that finished and are not slow. */
export function healthySeconds({ receivers }: CaseResult): number[] {
  return receivers.flatMap(({ kind, seconds }) => (kind === 'slow' || seconds === undefined ? [] : [seconds]));
}

/** The time of the last healthy receiver. */
export function makespan(result: CaseResult): number {
  return Math.max(...healthySeconds(result));
}

/** No schedule makes all receivers of an object of M pieces finish in less than this many times one's time. */
export function boundRatio(receivers: number, pieces: number): number {
  return 1 + Math.floor(Math.log2(receivers)) / pieces;
}

export function summarize(
  options: LabOptions,
  alone: readonly CaseResult[],
  together: readonly CaseResult[],
): Measure[] {
  const { hosts, sizeBytes, staggerMs } = options;
  const measure = (label: string, unit: Measure['unit'], runs: readonly number[]): Measure => ({
    label,
    unit,
    median: median(runs),
    runs,
  });
  const of = (pick: (result: CaseResult) => number): number[] => together.map(pick);
  const aloneSeconds = alone.map(makespan);
  const aloneMedian = median(aloneSeconds);
  const healthy = together.map(healthySeconds);
  const slow = together.flatMap(({ receivers }) => receivers.filter(({ kind }) => kind === 'slow'));
  const pieces = together[0]?.pieces;
  const last = staggerMs > 0 ? 'slowest of its own start' : `last of ${healthy[0]?.length} healthy`;
  return [
    measure('one alone', 's', aloneSeconds),
    measure(
      'together: first',
      's',
      healthy.map((seconds) => Math.min(...seconds)),
    ),
    measure(
      'together: p50',
      's',
      healthy.map((seconds) => quantile(seconds, 0.5)),
    ),
    measure(`together: ${last}`, 's', of(makespan)),
    ...(slow.length === 0
      ? []
      : [
          measure(
            'together: the slow host',
            's',
            slow.map(({ seconds }) => seconds ?? Number.NaN),
          ),
        ]),
    measure(
      `${last} / one alone`,
      '',
      of((result) => makespan(result) / aloneMedian),
    ),
    ...(pieces === undefined || staggerMs > 0
      ? []
      : [measure(`bound of that, ${hosts} equal receivers, ${pieces} pieces`, '', [boundRatio(hosts, pieces)])]),
    measure(
      'gold payload / object',
      '',
      of(({ goldPayloadBytes }) => goldPayloadBytes / sizeBytes),
    ),
    measure(
      'gold wire / object',
      '',
      of(({ goldWireBytes }) => goldWireBytes / sizeBytes),
    ),
    measure(
      'not payload, all links',
      'MB',
      of(({ overheadBytes }) => overheadBytes / 1e6),
    ),
    measure(
      "of that, etcd's link, both ways",
      'MB',
      of(({ etcdWireBytes }) => etcdWireBytes / 1e6),
    ),
    measure(
      "of that, gold's uplink",
      'MB',
      of((result) => (result.goldWireBytes - result.goldPayloadBytes) / 1e6),
    ),
    measure(
      'CPU of p2pstore and etcd',
      's',
      of(({ cpuSeconds }) => cpuSeconds),
    ),
    measure(
      'CPU of the machine',
      's',
      of(({ machineCpuSeconds }) => machineCpuSeconds),
    ),
  ];
}

export function printSummary(measures: readonly Measure[]): void {
  printTable(
    measures.map(({ label, unit, median: middle, runs }) => ({
      measure: unit === '' ? label : `${label}, ${unit}`,
      median: format(middle),
      runs: runs.length > 1 ? runs.map(format).join(' ') : '',
    })),
  );
}

function format(value: number): string {
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 3);
}
