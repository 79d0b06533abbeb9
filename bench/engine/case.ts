import { median } from '../support/statistics.ts';

/** What one run of a case measured: some of these. */
export interface Sample {
  readonly gigabytesPerSecond?: number;
  /** Of both processes together. */
  readonly cpuSecondsPerGigabyte?: number;
  /** Of a single request, in microseconds. */
  readonly p50?: number;
  readonly p99?: number;
}

export type Measure = keyof Sample;

export interface Case {
  readonly name: string;
  /** Chosen together by `--only`. */
  readonly group: string;
  /** Ours, or what this machine can do without us. */
  readonly isReference: boolean;
  run(): Promise<Sample>;
}

/** What is to be reached: the median, over the rounds, of one case's measure as a multiple of another's. */
export interface Goal {
  readonly what: string;
  readonly of: { readonly name: string; readonly measure: Measure };
  readonly to: { readonly name: string; readonly measure: Measure };
  readonly atLeast?: number;
  readonly atMost?: number;
}

export type Samples = ReadonlyMap<string, readonly Sample[]>;

export function valuesOf(samples: Samples, name: string, measure: Measure): number[] {
  return (samples.get(name) ?? []).flatMap((sample) => sample[measure] ?? []);
}

/** Rounds are compared one by one: a slow minute is slow for both. Undefined when one of them was not run. */
export function ratioOf(samples: Samples, { of, to }: Goal): number | undefined {
  const ours = valuesOf(samples, of.name, of.measure);
  const theirs = valuesOf(samples, to.name, to.measure);
  if (ours.length === 0 || theirs.length !== ours.length) return undefined;
  return median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}

export function isMet(ratio: number, { atLeast = 0, atMost = Number.POSITIVE_INFINITY }: Goal): boolean {
  return ratio >= atLeast && ratio <= atMost;
}
