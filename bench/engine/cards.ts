/**
 * Several network cards: two shaped ones at once beside each of them alone, and what a cut costs. Two hosts in network
 * namespaces of their own; takes root, and about two minutes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CardNetwork, type Cut, type HostName } from '../support/card-network.ts';
import { Child } from '../support/child.ts';
import { median } from '../support/statistics.ts';
import type { CardSample } from './card-host.ts';

export interface CardRow {
  readonly name: string;
  /** Median. */
  readonly value: number;
  readonly unit: 'MB/s' | 'ms';
  /** What was reached in the same run without the others, or what is allowed at most. */
  readonly ceiling: number;
  /** Value to ceiling. */
  readonly ratio: number;
  /** What the ratio should be. */
  readonly goal: string;
  readonly samples: readonly number[];
}

const SIZE_BYTES = 64 * 1024 * 1024;
/** Each read is as long as it takes to be this long, at the speed that the cards have. */
const READ_SECONDS = 3;
const MEGABYTE = 1e6;
const WINDOW_MS = 100;
/** Of a card's full rate, for "it is back". */
const BACK_SHARE = 0.9;
const USED_SHARE = 0.5;
const CUTS: readonly { readonly cut: Cut; readonly backMs: number; readonly name: string }[] = [
  { cut: 'down', backMs: 300, name: 'interface down' },
  { cut: 'silent', backMs: 1500, name: 'packets dropped' },
];
const HEALED_MS = 5000;

/** @param runs - Rounds of each case. */
export async function measureCards(runs: number): Promise<CardRow[]> {
  return [
    ...(await measureSpread('two cards of 500 Mbit/s, over one', [500e6, 500e6], runs, 'best', '>= 1.9')),
    ...(await measureSpread('cards of 300 and 100 Mbit/s, over their sum', [300e6, 100e6], runs, 'sum', '>= 0.93')),
    ...(await measureCuts(runs)),
  ];
}

/** Two hosts with an engine each. */
class Bench implements AsyncDisposable {
  readonly network: CardNetwork;
  readonly #folder: string;
  readonly #client: Child;
  readonly #target: string;

  private constructor(network: CardNetwork, folder: string, client: Child, target: string) {
    this.network = network;
    this.#folder = folder;
    this.#client = client;
    this.#target = target;
  }

  static async open(cards: readonly number[]): Promise<Bench> {
    const network = await CardNetwork.open({ cards });
    const folder = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-cards-'));
    const program = import.meta.filename.replace(/cards(\.[jt]s)$/, 'card-host$1');
    const start = (host: HostName): Child => {
      const args = [String(SIZE_BYTES), `local:${folder}`, host, network.address(host, 0)];
      const [command = '', ...rest] = network.on(host, [process.execPath, ...process.execArgv, program, ...args]);
      return new Child(command, rest);
    };
    const server = start('right');
    const client = start('left');
    const { segment, address } = await server.receive<{ segment: string; address: string }>();
    await client.receive();
    return new Bench(network, folder, client, `${segment} ${address}`);
  }

  /** @param cards - Of the host that reads. @returns Megabytes a second. */
  async read(cards: readonly number[], bytes: number): Promise<number> {
    const { seconds } = await this.#client.ask<{ seconds: number }>(`read ${this.#words(cards, bytes)}`);
    return bytes / seconds / MEGABYTE;
  }

  async start(cards: readonly number[]): Promise<void> {
    await this.#client.ask(`start ${this.#words(cards, SIZE_BYTES)}`);
  }

  stop(): Promise<{ readonly samples: readonly CardSample[]; readonly failures: number }> {
    return this.#client.ask('stop');
  }

  #words(cards: readonly number[], bytes: number): string {
    const matrix = JSON.stringify({ '*': [cards.map((card) => this.network.cardName(card)), []] });
    return `${matrix} ${Math.round(bytes)} ${this.#target}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.network[Symbol.asyncDispose](); // ends the processes too
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function measureSpread(
  name: string,
  rates: readonly number[],
  runs: number,
  ceilingIs: 'best' | 'sum',
  goal: string,
): Promise<CardRow[]> {
  await using bench = await Bench.open(rates);
  const bytesOf = (cards: readonly number[]): number =>
    (cards.reduce((sum, card) => sum + (rates[card] ?? 0), 0) / 8) * READ_SECONDS;
  const cases = [[0], [1], [0, 1]];
  const speeds = cases.map((): number[] => []);
  for (let run = 0; run <= runs; run++) {
    for (const [index, cards] of cases.entries()) {
      const speed = await bench.read(cards, bytesOf(cards));
      if (run > 0) speeds[index]?.push(speed); // the first round warms up
    }
  }
  const [first = 0, second = 0, value = 0] = speeds.map(median);
  const ceiling = ceilingIs === 'sum' ? first + second : Math.max(first, second);
  return [{ name, value, unit: 'MB/s', ceiling, ratio: value / ceiling, goal, samples: speeds[2] ?? [] }];
}

async function measureCuts(runs: number): Promise<CardRow[]> {
  await using bench = await Bench.open([500e6, 500e6]);
  const rows: CardRow[] = [];
  for (const { cut, backMs, name } of CUTS) {
    const back: number[] = [];
    const healed: number[] = [];
    for (let run = 0; run < runs; run++) {
      const times = await cutOnce(bench, cut);
      back.push(times.backMs);
      healed.push(times.healedMs);
    }
    rows.push(limitRow(`${name}: the other card at its full rate after`, back, backMs));
    rows.push(limitRow(`${name}, then healed: both cards used after`, healed, HEALED_MS));
  }
  return rows;
}

function limitRow(name: string, samples: readonly number[], ceiling: number): CardRow {
  const value = median(samples);
  return { name, value, unit: 'ms', ceiling, ratio: value / ceiling, goal: '< 1', samples };
}

/** Times are infinite when it did not happen, or a read failed. */
async function cutOnce(bench: Bench, cut: Cut): Promise<{ readonly backMs: number; readonly healedMs: number }> {
  await bench.start([0, 1]);
  await delay(2000);
  const cutAtMs = Date.now();
  await bench.network.cut('left', 1, cut);
  await delay(2500);
  const healedAtMs = Date.now();
  await bench.network.heal('left', 1, cut);
  await delay(HEALED_MS);
  const { samples, failures } = await bench.stop();
  if (failures > 0) return { backMs: Number.POSITIVE_INFINITY, healedMs: Number.POSITIVE_INFINITY };
  const fullRate = median(ratesOf(samples, 0, cutAtMs - 1000, cutAtMs).map(({ rate }) => rate));
  const after = (card: number, fromMs: number, share: number): number => {
    const found = ratesOf(samples, card, fromMs, Number.POSITIVE_INFINITY).find(({ rate }) => rate >= share * fullRate);
    return found === undefined ? Number.POSITIVE_INFINITY : found.atMs - fromMs;
  };
  return { backMs: after(0, cutAtMs, BACK_SHARE), healedMs: after(1, healedAtMs, USED_SHARE) };
}

/** Bytes a second over each {@link WINDOW_MS} that lie in a time, and when they begin. */
function ratesOf(
  samples: readonly CardSample[],
  card: number,
  fromMs: number,
  toMs: number,
): readonly { readonly atMs: number; readonly rate: number }[] {
  return samples.flatMap((sample, index) => {
    const end = samples.slice(index).find(({ atMs }) => atMs >= sample.atMs + WINDOW_MS);
    if (end === undefined || sample.atMs < fromMs || end.atMs > toMs) return [];
    const bytes = (end.received[card] ?? 0) - (sample.received[card] ?? 0);
    return [{ atMs: sample.atMs, rate: (bytes / (end.atMs - sample.atMs)) * 1000 }];
  });
}
