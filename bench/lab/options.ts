import path from 'node:path';
import { parseArgs } from 'node:util';
import { parseDurationMs, parseSizeBytes } from '../../src/cli/quantities.ts';

export interface LabOptions {
  /** Receivers, beside the one host that publishes. */
  readonly hosts: number;
  /** Of every link, each way. */
  readonly bitsPerSecond: number;
  readonly sizeBytes: number;
  readonly runs: number;
  /** Between the starts of receivers; 0: all wait for the publication. */
  readonly staggerMs: number;
  /** How many receivers are killed on the way. */
  readonly kill: number;
  /** Share of the rate, both ways, that one host has; undefined: none is slow. */
  readonly slowHost: number | undefined;
  readonly halfUplink: boolean;
  readonly svgFile: string | undefined;
  readonly jsonFile: string | undefined;
  readonly keepLogs: boolean;
  readonly program: string;
}

export class UsageError extends Error {}

const HOSTS_MAX = 200;
const RUNS_MAX = 100;
/** From the slowest that ends today to the fastest that a shaper on one machine follows. */
const RATE_MIN = 1e6;
const RATE_MAX = 10e9;

export const USAGE = `npm run lab -- [options]      as root, on Linux with iproute2 and etcd

  --hosts N            receivers, beside the publishing host (16)
  --rate RATE          of every link, each way: 100mbit, 1gbit (100mbit)
  --size SIZE          of the object: 128MiB, 1GiB (128MiB)
  --runs N             how often each case is measured (3)
  --stagger DURATION   receivers start that far apart: 1s, 250ms (all wait for the publication)
  --kill K             K receivers are killed with SIGKILL on the way, at different progress (0)
  --slow-host SHARE    one receiver's links have this share of the rate, such as 0.1
  --half-uplink        one receiver has half the uplink
  --svg FILE           draws the completion curves
  --json FILE          writes every sample
  --keep-logs          keeps what the processes wrote, in .cache/lab/<process id>
  --p2pstore PATH      program under test (bin/p2pstore)
`;

const OPTIONS = {
  hosts: { type: 'string', default: '16' },
  rate: { type: 'string', default: '100mbit' },
  size: { type: 'string', default: '128MiB' },
  runs: { type: 'string', default: '3' },
  stagger: { type: 'string' },
  kill: { type: 'string', default: '0' },
  'slow-host': { type: 'string' },
  'half-uplink': { type: 'boolean', default: false },
  svg: { type: 'string' },
  json: { type: 'string' },
  'keep-logs': { type: 'boolean', default: false },
  p2pstore: { type: 'string', default: 'bin/p2pstore' },
  help: { type: 'boolean', default: false },
} as const;

/**
 * Reads the command line.
 *
 * @returns undefined when only the usage was asked for.
 * @throws UsageError
 */
export function parseLabOptions(args: readonly string[]): LabOptions | undefined {
  const values = parseValues(args);
  if (values.help) return undefined;
  const options: LabOptions = {
    hosts: whole(values.hosts, '--hosts', 1, HOSTS_MAX),
    bitsPerSecond: rate(values.rate),
    sizeBytes: size(values.size),
    runs: whole(values.runs, '--runs', 1, RUNS_MAX),
    staggerMs: values.stagger === undefined ? 0 : duration(values.stagger),
    kill: whole(values.kill, '--kill', 0, HOSTS_MAX),
    slowHost: values['slow-host'] === undefined ? undefined : share(values['slow-host']),
    halfUplink: values['half-uplink'],
    svgFile: values.svg,
    jsonFile: values.json,
    keepLogs: values['keep-logs'],
    program: path.resolve(values.p2pstore),
  };
  const special = options.kill + (options.slowHost === undefined ? 0 : 1) + (options.halfUplink ? 1 : 0);
  if (special >= options.hosts) {
    throw new UsageError(
      `--hosts ${options.hosts} leaves no plain receiver: ${special} are killed, slow or have half the uplink`,
    );
  }
  return options;
}

function parseValues(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values;
  } catch (error) {
    throw asUsageError(error);
  }
}

function asUsageError(error: unknown): UsageError {
  return new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
}

function whole(text: string, option: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw new UsageError(`${option} wants a whole number from ${min} to ${max}, not "${text}"`);
  return value;
}

function rate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(k|m|g)bit$/i.exec(text);
  const unit = { k: 1e3, m: 1e6, g: 1e9 }[(match?.[2] ?? 'k').toLowerCase()] ?? Number.NaN;
  const value = Number(match?.[1]) * unit;
  if (!(value >= RATE_MIN && value <= RATE_MAX)) {
    throw new UsageError(`--rate wants a rate from 1mbit to 10gbit, such as 100mbit, not "${text}"`);
  }
  return value;
}

function size(text: string): number {
  try {
    const bytes = parseSizeBytes(text, '--size');
    if (bytes > 0) return bytes;
  } catch (error) {
    throw asUsageError(error);
  }
  throw new UsageError('--size wants more than nothing');
}

function duration(text: string): number {
  try {
    return parseDurationMs(text, '--stagger');
  } catch (error) {
    throw asUsageError(error);
  }
}

function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1))
    throw new UsageError(`--slow-host wants a share between 0 and 1, such as 0.1, not "${text}"`);
  return value;
}
