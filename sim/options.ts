/** The command line of the simulator. */
import { parseArgs } from 'node:util';
import { parseDurationMs, parseSizeBytes } from '../src/cli/quantities.ts';
import { followIntervalMs } from '../src/swarm/follow-feed.ts';

/** What all runs of one call have in common. */
export interface SimOptions {
  /** How many receivers; each number is a case of its own. */
  readonly receivers: readonly number[];
  readonly pieces: number;
  readonly pieceBytes: number;
  /** Of the slowest link, in bytes per ms. */
  readonly rate: number;
  /** The fastest link over the slowest; 1: all are equal. */
  readonly spread: number;
  /** The part of the receivers that dies on the way; as many join late. */
  readonly churn: number;
  readonly staggerMs: number;
  readonly latencyMs: number;
  /** Undefined: what the product takes for that many followers. */
  readonly coalesceMs: number | undefined;
  readonly pieceCostMs: number;
  readonly detectMs: number;
  readonly neighbours: number;
  /** Receivers that may follow the gold source. */
  readonly followers: number;
  readonly quantaPerPiece: number;
  readonly seed: number;
  readonly runs: number;
  readonly jsonFile: string | undefined;
  readonly svgFile: string | undefined;
}

export class UsageError extends Error {}

export const USAGE = `npm run sim -- [options]

  --receivers N[,N...]  cases to run, 1 to 20000 receivers (16,64,256)
  --pieces M            pieces of the object (256)
  --piece-size SIZE     (1MiB)
  --rate RATE           of every link, each way; of the slowest with --spread: 100mbit, 1gbit (100mbit)
  --spread FACTOR       uplinks and downlinks are log-uniform between the rate and FACTOR times it; the gold
                        source's are in the middle, at the rate times the root of FACTOR (1)
  --churn PART          this part of the receivers dies and as many join, at random times (0)
  --stagger DURATION    receivers start that far apart (0s)
  --latency DURATION    one way (0.2ms)
  --coalesce DURATION   least time between two messages of a store (as the product: 4ms + 1ms for each follower, 36ms at most)
  --piece-cost DURATION between the arrival of a piece and its offer to others (0.3ms)
  --detect DURATION     until others notice that a receiver is dead (200ms)
  --neighbours N        sources that a receiver follows (64)
  --followers N         receivers that may follow the gold source (64)
  --quanta N            parts in which a piece crosses the links (2)
  --seed S              (1)
  --runs N              with seeds S, S + 1, ...; medians are shown (3)
  --json FILE           writes every run
  --svg FILE            draws the time over the bound against the number of receivers
`;

const OPTIONS = {
  receivers: { type: 'string', default: '16,64,256' },
  pieces: { type: 'string', default: '256' },
  'piece-size': { type: 'string', default: '1MiB' },
  rate: { type: 'string', default: '100mbit' },
  spread: { type: 'string', default: '1' },
  churn: { type: 'string', default: '0' },
  stagger: { type: 'string', default: '0ms' },
  latency: { type: 'string', default: '0.2ms' },
  coalesce: { type: 'string' },
  'piece-cost': { type: 'string', default: '0.3ms' },
  detect: { type: 'string', default: '200ms' },
  neighbours: { type: 'string', default: '64' },
  followers: { type: 'string', default: '64' },
  quanta: { type: 'string', default: '2' },
  seed: { type: 'string', default: '1' },
  runs: { type: 'string', default: '3' },
  json: { type: 'string' },
  svg: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/**
 * Reads the command line.
 *
 * @returns undefined when only the usage was asked for.
 * @throws UsageError
 */
export function parseSimOptions(args: readonly string[]): SimOptions | undefined {
  const values = parseValues(args);
  if (values.help) return undefined;
  return {
    receivers: values.receivers.split(',').map((text) => whole(text, '--receivers', 1, 20_000)),
    pieces: whole(values.pieces, '--pieces', 1, 65_536),
    pieceBytes: size(values['piece-size']),
    rate: rate(values.rate),
    spread: decimal(values.spread, '--spread', 1, 1_000),
    churn: decimal(values.churn, '--churn', 0, 0.9),
    staggerMs: duration(values.stagger, '--stagger'),
    latencyMs: duration(values.latency, '--latency'),
    coalesceMs: values.coalesce === undefined ? undefined : duration(values.coalesce, '--coalesce'),
    pieceCostMs: duration(values['piece-cost'], '--piece-cost'),
    detectMs: duration(values.detect, '--detect'),
    neighbours: whole(values.neighbours, '--neighbours', 1, 1_000),
    followers: whole(values.followers, '--followers', 1, 20_000),
    quantaPerPiece: whole(values.quanta, '--quanta', 1, 64),
    seed: whole(values.seed, '--seed', 0, 1_000_000),
    runs: whole(values.runs, '--runs', 1, 100),
    jsonFile: values.json,
    svgFile: values.svg,
  };
}

/** How long a store with so many receivers around it collects before it tells. */
export function coalesceMs(options: SimOptions, receivers: number): number {
  return options.coalesceMs ?? followIntervalMs(Math.min(receivers, options.neighbours));
}

function parseValues(args: readonly string[]): ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'] {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function decimal(text: string, name: string, least: number, most: number): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new UsageError(`${name} must be ${least} to ${most}, not '${text}'`);
  return value;
}

function whole(text: string, name: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new UsageError(`${name} must be ${least} to ${most}, not '${text}'`);
  return value;
}

function duration(text: string, name: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match === null) throw new UsageError(`${name} must be a duration such as 0.2ms or 1s, not '${text}'`);
  if (match[2] === 'ms') return Number(match[1]);
  return parseDurationMs(text, name);
}

function size(text: string): number {
  try {
    return parseSizeBytes(text, '--piece-size');
  } catch (error) {
    throw new UsageError(`--piece-size must be a size such as 1MiB, not '${text}'`, { cause: error });
  }
}

/** @returns Bytes per ms. */
function rate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(k|m|g)bit$/.exec(text);
  const unit = { k: 1e3, m: 1e6, g: 1e9 }[match?.[2] ?? ''];
  const value = Number(match?.[1] ?? 0) * (unit ?? 0);
  if (!(value > 0)) throw new UsageError(`--rate must be a rate such as 100mbit or 1gbit, not '${text}'`);
  return value / 8_000;
}
