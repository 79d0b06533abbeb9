/** Engines on two hosts with several cards, each in a process and a network namespace of its own. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { CardNetwork, type CardNetworkOptions, type HostName } from '../../bench/support/card-network.ts';
import { Child } from '../../bench/support/child.ts';
import type { PathStatus } from '../../src/engine/paths/path-status.ts';
import type { TransferEngineOptions } from '../../src/engine/transfer-engine.ts';
import { eventually } from './eventually.ts';
import { FILL_PATTERN_SOURCE } from './patterned-memory.ts';
import { PROJECT_ROOT } from './project-files.ts';
import { makeTemporaryFolder, type TemporaryFolder } from './temporary-folder.ts';

export interface CardHostsOptions extends CardNetworkOptions {
  /** By which addresses the hosts are advertised. Default 4. */
  readonly family?: 4 | 6;
  /** Of the host that reads. */
  readonly left?: Partial<TransferEngineOptions>;
  /** Of the host that is read from. */
  readonly right?: Partial<TransferEngineOptions>;
  readonly sizeBytes: number;
}

export interface ReadState {
  /** Whole reads of all memory, each of which had the right bytes. */
  readonly reads: number;
  readonly failures: readonly string[];
  readonly movedBytes: number;
  readonly paths: readonly PathStatus[];
  /** What Prometheus would scrape then. */
  readonly metrics: string;
}

const SOURCE = `
${FILL_PATTERN_SOURCE}
import { createInterface } from 'node:readline';
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { allocate } = await dist('memory/memory-region.js');
const { sizeBytes, seed, engine: options } = JSON.parse(process.argv.at(-1));
const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n');
const engine = await TransferEngine.open({ ioWorkers: 1, ...options });
const region = allocate(sizeBytes);
const expected = new Uint8Array(sizeBytes);
fillPattern(expected, 7);
if (seed !== undefined) region.view().set(expected);
await engine.registerLocalMemory(region.address, sizeBytes, '*', { remoteAccess: 'read-write' });
say({ segment: engine.segmentName, address: String(region.address) });

const state = { reads: 0, failures: [], movedBytes: 0 };
let isReading = false;
let ended = Promise.resolve();
async function transfer(opcode, segment, address) {
  const requests = [];
  for (let offset = 0; offset < sizeBytes; offset += sizeBytes / 4) {
    requests.push({
      opcode, segment, lengthBytes: sizeBytes / 4,
      localAddress: region.address + BigInt(offset), remoteAddress: BigInt(address) + BigInt(offset),
    });
  }
  await engine.submitTransfer(requests).done;
  state.movedBytes += sizeBytes;
}
async function read(segment, address) {
  region.view().fill(0);
  try {
    await transfer('read', segment, address);
    if (Buffer.compare(region.view(), expected) === 0) state.reads += 1;
    else state.failures.push('wrong bytes');
  } catch (error) {
    state.failures.push(error.code + ' ' + error.message);
  }
}
for await (const line of createInterface({ input: process.stdin })) {
  const [command, name, address] = line.split(' ');
  if (command === 'read') await read(await engine.openSegment(name), address);
  if (command === 'write') await transfer('write', await engine.openSegment(name), address);
  if (command === 'start') {
    const segment = await engine.openSegment(name);
    isReading = true;
    ended = (async () => { while (isReading) await read(segment, address); })();
  }
  if (command === 'stop') {
    isReading = false;
    await ended;
  }
  if (command === 'forget') region.view().fill(0);
  if (command === 'check') state.isRight = Buffer.compare(region.view(), expected) === 0;
  say({ ...state, paths: engine.paths(), metrics: await engine.metrics() });
}
await engine.close();
`;

/** The host \`left\` reads from, or writes to, the memory of the host \`right\`. */
export class CardHosts implements AsyncDisposable {
  readonly network: CardNetwork;
  readonly #folder: TemporaryFolder;
  readonly #left: Child;
  readonly #right: Child;
  readonly #segment: string;
  readonly #address: string;

  private constructor(parts: {
    readonly network: CardNetwork;
    readonly folder: TemporaryFolder;
    readonly left: Child;
    readonly right: Child;
    readonly segment: string;
    readonly address: string;
  }) {
    this.network = parts.network;
    this.#folder = parts.folder;
    this.#left = parts.left;
    this.#right = parts.right;
    this.#segment = parts.segment;
    this.#address = parts.address;
  }

  static async open({ family = 4, left, right, sizeBytes, ...network }: CardHostsOptions): Promise<CardHosts> {
    const opened = await CardNetwork.open(network);
    const folder = await makeTemporaryFolder();
    const start = (host: HostName, seed: number | undefined, options: Partial<TransferEngineOptions> = {}): Child => {
      const address = opened.address(host, 0, family);
      const names = { metadata: `local:${folder.path}`, segmentName: host, host: address };
      // They are on one machine: other transports would go past the cards.
      const engine = { ...names, transports: ['tcp'], ...options };
      const built = pathToFileURL(path.join(PROJECT_ROOT, 'dist/')).href;
      const source = `const dist = (name) => import(new URL(name, ${JSON.stringify(built)}).href);\n${SOURCE}`;
      const node = [process.execPath, '--input-type=module', '--eval', source, '--'];
      const [program = '', ...args] = opened.on(host, [...node, JSON.stringify({ sizeBytes, seed, engine })]);
      return new Child(program, args);
    };
    const server = start('right', 7, right);
    const client = start('left', undefined, left);
    const facts = await server.receive<{ segment: string; address: string }>();
    await client.receive();
    return new CardHosts({ network: opened, folder, left: client, right: server, ...facts });
  }

  #ask(command: string): Promise<ReadState> {
    return this.#left.ask<ReadState>(`${command} ${this.#segment} ${this.#address}`);
  }

  /** Reads everything once, and compares it. */
  read(): Promise<ReadState> {
    return this.#ask('read');
  }

  /** Writes the own memory over that of the other host. */
  write(): Promise<ReadState> {
    return this.#ask('write');
  }

  /** Whether the memory of the other host has the right bytes. */
  async isRightIntact(): Promise<boolean> {
    return (await this.#right.ask<{ isRight: boolean }>('check')).isRight;
  }

  /** Overwrites the memory of the other host with zeros. */
  async forgetRight(): Promise<void> {
    await this.#right.ask('forget');
  }

  /** Reads over and over until {@link stop}. */
  start(): Promise<ReadState> {
    return this.#ask('start');
  }

  state(): Promise<ReadState> {
    return this.#ask('state');
  }

  stop(): Promise<ReadState> {
    return this.#ask('stop');
  }

  /** Waits until the paths over these cards carry bytes: each has more than it had before. */
  async untilCarrying(cards: readonly number[], deadlineMs = 30_000): Promise<ReadState> {
    const before = (await this.state()).paths;
    const bytesOf = (paths: readonly PathStatus[], card: number): number =>
      paths
        .filter(({ localCard }) => localCard === this.network.cardName(card))
        .reduce((sum, { bytes }) => sum + bytes, 0);
    const hasMore = (paths: readonly PathStatus[]): boolean =>
      cards.every((card) => bytesOf(paths, card) > bytesOf(before, card));
    return eventually(
      `bytes on cards ${cards.join(', ')}`,
      async () => {
        const state = await this.state();
        return hasMore(state.paths) ? state : undefined;
      },
      { deadlineMs, pollMs: 50 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.network[Symbol.asyncDispose](); // ends the processes too
    await this.#folder[Symbol.asyncDispose]();
  }
}
