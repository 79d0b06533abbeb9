/** Turns flags and environment variables into one checked configuration: read once, here and nowhere else. */
import fs from 'node:fs';
import os from 'node:os';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { hostPort } from '../core/host-port.ts';
import { isPowerOfTwo } from '../core/units.ts';
import { TRANSPORT_NAMES, type TransportName } from '../engine/transport/transport.ts';
import type { EtcdOptions } from '../metadata/etcd/etcd-address.ts';
import { LOG_LEVELS, type LogLevel } from './line-logger.ts';
import { OPTIONS, type OptionKey, type OptionSpec, VARIABLES, type VariableKey } from './options.ts';
import { parseDurationMs, parseRateBytesPerSecond, parseSizeBytes } from './quantities.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What commander hands over: text, or true for a flag without a value. */
export type RawOptions = Readonly<Partial<Record<OptionKey, string | boolean>>>;

const VERIFY_ALGORITHMS = ['xxh64', 'blake3', 'none'] as const;
export type VerifyAlgorithm = (typeof VERIFY_ALGORITHMS)[number];

/** The host without brackets; port 0: any free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface Config {
  readonly metadataUri: string;
  /** False when the default stands because nobody said anything. */
  readonly isMetadataGiven: boolean;
  readonly etcd: EtcdOptions;
  readonly segmentName: string;
  /** JSON text of the matrix; checked by the store. */
  readonly nicMatrix: string | undefined;
  /** Undefined: all that work here. */
  readonly transports: readonly TransportName[] | undefined;
  /** 0: any free one. */
  readonly dataPort: number;
  readonly peerPort: number;
  /** Undefined: no limit. */
  readonly maxUploadBytesPerSecond: number | undefined;
  readonly maxDownloadBytesPerSecond: number | undefined;
  /** Whether Mooncake's stores are to see what this store has. */
  readonly mooncakeMirror: boolean;
  readonly maxShardSizeBytes: number;
  readonly pieceSizeBytes: number | undefined;
  readonly receivers: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
  /** undefined: no log. */
  readonly logLevel: LogLevel | undefined;
  readonly name: string | undefined;
  readonly force: boolean;
  readonly outputPath: string | undefined;
  /** Waits for what is not published yet. */
  readonly wait: boolean;
  readonly seed: boolean;
  readonly watch: boolean;
  /** Between two shows of what is watched. */
  readonly intervalMs: number;
  readonly verify: VerifyAlgorithm | undefined;
  readonly untilStdinEnds: boolean;
  /** Where a service listens. */
  readonly listen: ListenAddress;
  /** Undefined: nowhere. */
  readonly metricsListen: ListenAddress | undefined;
  readonly peers: number;
  readonly checkpointSizeBytes: number;
}

const PORT_MAX = 65_535;
const INTERVAL_DEFAULT = '1s';
const SHARD_SIZE_DEFAULT = '64MiB';
const CHECKPOINT_SIZE_DEFAULT = '512MiB';
/** Room for the header and a few tensors. */
const CHECKPOINT_SIZE_BYTES_MIN = 65_536;
const LISTEN_DEFAULT = '127.0.0.1:8080';
const PEERS_DEFAULT = '4';
const PEERS_MAX = 16;

/**
 * @param raw - By option key, as parsed by commander.
 * @throws P2P_INVALID_ARGUMENT A value does not read.
 * @throws P2P_FILE_FAILED A file named by an option or a variable cannot be read.
 */
export function readConfig(raw: RawOptions, environment: Environment): Config {
  const text = (key: OptionKey): string | undefined => {
    const given = raw[key];
    if (typeof given === 'string') return given;
    const spec: OptionSpec = OPTIONS[key];
    return spec.variable === undefined ? undefined : environment[spec.variable] || undefined;
  };
  const isSet = (key: OptionKey): boolean => raw[key] === true;
  const map = <T>(value: string | undefined, read: (value: string) => T): T | undefined =>
    value === undefined ? undefined : read(value);

  const metadataUri = text('metadata') ?? 'local:';
  return {
    metadataUri,
    isMetadataGiven: text('metadata') !== undefined,
    etcd: readEtcdOptions(environment),
    segmentName: text('segment') ?? defaultSegmentName(metadataUri),
    nicMatrix: map(text('nicMatrix'), readNicMatrix),
    transports: map(text('transports'), readTransports),
    dataPort: readPort(text('dataPort') ?? '0', '--data-port'),
    peerPort: readPort(text('peerPort') ?? '0', '--peer-port'),
    maxUploadBytesPerSecond: map(text('maxUpload'), (value) => parseRateBytesPerSecond(value, '--max-upload')),
    maxDownloadBytesPerSecond: map(text('maxDownload'), (value) => parseRateBytesPerSecond(value, '--max-download')),
    mooncakeMirror: readChoice(text('mooncakeMirror') ?? 'on', ['on', 'off'], '--mooncake-mirror') === 'on',
    maxShardSizeBytes: readShardSizeBytes(text('shardSize') ?? SHARD_SIZE_DEFAULT),
    pieceSizeBytes: map(text('pieceSize'), (value) => parseSizeBytes(value, '--piece-size')),
    receivers: map(text('receivers'), readReceivers),
    timeoutMs: map(text('timeout'), (value) => parseDurationMs(value, '--timeout')),
    json: isSet('json'),
    quiet: isSet('quiet'),
    logLevel: map(text('logLevel'), (value) => readChoice(value, LOG_LEVELS, '--log-level')),
    name: text('name'),
    force: isSet('force'),
    outputPath: text('output'),
    wait: isSet('wait'),
    seed: isSet('seed'),
    watch: isSet('watch'),
    intervalMs: parseDurationMs(text('interval') ?? INTERVAL_DEFAULT, '--interval'),
    verify: map(text('verify'), (value) => readChoice(value, VERIFY_ALGORITHMS, '--verify')),
    untilStdinEnds: isSet('untilStdinEnds'),
    listen: readListen(text('listen') ?? LISTEN_DEFAULT, '--listen'),
    metricsListen: map(text('metricsListen'), (value) => readListen(value, '--metrics-listen')),
    peers: readPeers(text('peers') ?? PEERS_DEFAULT),
    checkpointSizeBytes: readCheckpointSizeBytes(text('size') ?? CHECKPOINT_SIZE_DEFAULT),
  };
}

function invalid(argument: string, state: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot use ${argument}: ${state}`, { argument });
}

function readChoice<T extends string>(value: string, choices: readonly T[], argument: string): T {
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw invalid(argument, `"${value}" is none of ${choices.join(', ')}`);
  return choice;
}

function readTransports(value: string): TransportName[] {
  return value.split(',').map((name) => readChoice(name.trim(), TRANSPORT_NAMES, '--transports'));
}

function readReceivers(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw invalid('--receivers', `"${value}" is not a whole number above 0`);
  return Number(value);
}

function readShardSizeBytes(value: string): number {
  const sizeBytes = parseSizeBytes(value, '--shard-size');
  if (!isPowerOfTwo(sizeBytes)) throw invalid('--shard-size', `${value} is not a power of two`);
  return sizeBytes;
}

function readCheckpointSizeBytes(value: string): number {
  const sizeBytes = parseSizeBytes(value, '--size');
  if (sizeBytes < CHECKPOINT_SIZE_BYTES_MIN) throw invalid('--size', `${value} is less than 64KiB`);
  return sizeBytes;
}

function readPort(value: string, argument: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port > PORT_MAX) {
    throw invalid(argument, `"${value}" is not a whole number from 0 to ${PORT_MAX}`);
  }
  return port;
}

function readListen(value: string, argument: string): ListenAddress {
  const { v6, name, port } = /^(?:\[(?<v6>[^[\]]+)\]|(?<name>[^:\s[\]/]+)):(?<port>\d+)$/.exec(value)?.groups ?? {};
  const host = v6 ?? name;
  if (host === undefined || port === undefined) throw invalid(argument, `"${value}" is not host:port`);
  return { host, port: readPort(port, argument) };
}

function readPeers(value: string): number {
  const peers = Number(value);
  if (!(Number.isInteger(peers) && peers >= 1 && peers <= PEERS_MAX)) {
    throw invalid('--peers', `"${value}" is not a whole number from 1 to ${PEERS_MAX}`);
  }
  return peers;
}

/**
 * JSON itself, or the path of a file that holds it: JSON of a matrix starts with a brace, a path does not. The event that
 * `topology --json` prints stands for the matrix in it.
 */
function readNicMatrix(value: string): string {
  const text = value.trimStart().startsWith('{') ? value : readTextFile(value, '--nic-matrix');
  try {
    const parsed: unknown = JSON.parse(text);
    const isEvent = typeof parsed === 'object' && parsed !== null && 'event' in parsed && 'matrix' in parsed;
    return isEvent && parsed.event === 'topology' ? JSON.stringify(parsed.matrix) : text;
  } catch {
    return text; // the store says what is wrong with it
  }
}

function readEtcdOptions(environment: Environment): EtcdOptions {
  const text = (key: VariableKey): string | undefined => environment[VARIABLES[key].variable] || undefined;
  const file = (key: VariableKey): string | undefined => {
    const path = text(key);
    return path === undefined ? undefined : readTextFile(path, VARIABLES[key].variable);
  };
  const [username, password] = [text('etcdUser'), text('etcdPassword')];
  const [ca, cert, key] = [file('etcdCa'), file('etcdCertificate'), file('etcdKey')];
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  return {
    ...(username && { username }),
    ...(password && { password }),
    ...(Object.keys(tls).length > 0 && { tls }),
  };
}

function readTextFile(path: string, argument: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (cause) {
    throw new P2PStoreError(
      ErrorCode.FileFailed,
      `Cannot read the file of ${argument}: ${cause instanceof Error ? cause.message : 'it failed'}`,
      { path, operation: 'read' },
      { cause },
    );
  }
}

/**
 * A name that is unique in the cluster while this process lives: a host that others reach, and the process id. The
 * second part is no port; stores listen where the system gives them one and say so in their records.
 */
function defaultSegmentName(metadataUri: string): string {
  const host = /^(local|memory):/.test(metadataUri) ? '127.0.0.1' : outsideAddress();
  return hostPort(host, process.pid);
}

/** The first address that other machines may reach, IPv4 before IPv6; loopback when there is none. */
function outsideAddress(): string {
  const addresses = Object.values(os.networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'));
  const best = addresses.find(({ family }) => family === 'IPv4') ?? addresses[0];
  return best?.address ?? '127.0.0.1';
}
