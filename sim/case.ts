/** One simulated swarm: what it is made of, and its time against the least that any way of distributing could take. */
import { quantile } from '../bench/support/statistics.ts';
import { type Random, seededRandom } from '../src/swarm/random.ts';
import { equalLinksBoundPieces, fluidBoundMs, type Link } from './bounds.ts';
import { coalesceMs, type SimOptions } from './options.ts';
import { Simulation, type SimulationResult } from './simulation.ts';

/** What one run came to. */
export interface CaseResult {
  readonly receivers: number;
  readonly seed: number;
  readonly timeMs: number;
  readonly boundMs: number;
  /** The time over the bound. */
  readonly ratio: number;
  /** Of the receivers' own times, each from its own start. */
  readonly ownMs: { readonly p50: number; readonly p99: number };
  /** Bytes that the gold source sent, over the object's size. */
  readonly goldCopies: number;
  /** For each piece of each receiver: requests refused, and messages received. */
  readonly refusedPerPiece: number;
  readonly messagesPerPiece: number;
  readonly canceled: number;
  readonly cpuSeconds: number;
}

/** The receivers of a run, those who join late last. */
interface Crowd {
  readonly gold: Link;
  readonly links: readonly Link[];
  readonly joinMs: readonly number[];
  /** By the receiver's number, from 1. */
  readonly deathMs: ReadonlyMap<number, number>;
}

export function runCase(options: SimOptions, receivers: number, seed: number): CaseResult {
  const crowd = gather(options, receivers, seededRandom(seed * 7_919 + receivers));
  const before = process.cpuUsage();
  const result = simulate(options, crowd, receivers, seed);
  const { user, system } = process.cpuUsage(before);
  const boundMs = boundOf(options, crowd);
  const own = result.ownMs.filter((ms) => ms !== undefined);
  const allPieces = options.pieces * own.length;
  return {
    receivers,
    seed,
    timeMs: result.makespanMs,
    boundMs,
    ratio: result.makespanMs / boundMs,
    ownMs: { p50: quantile(own, 0.5), p99: quantile(own, 0.99) },
    goldCopies: result.goldSentBytes / (options.pieces * options.pieceBytes),
    refusedPerPiece: result.refused / allPieces,
    messagesPerPiece: result.messages / allPieces,
    canceled: result.canceled,
    cpuSeconds: (user + system) / 1e6,
  };
}

function simulate(options: SimOptions, crowd: Crowd, receivers: number, seed: number): SimulationResult {
  const { pieces, pieceBytes, latencyMs, detectMs, pieceCostMs, neighbours, followers, quantaPerPiece } = options;
  return new Simulation({
    links: [crowd.gold, ...crowd.links],
    joinMs: crowd.joinMs,
    deathMs: crowd.deathMs,
    pieces,
    pieceBytes,
    seed,
    latencyMs,
    detectMs,
    pieceCostMs,
    coalesceMs: coalesceMs(options, receivers),
    neighboursMax: neighbours,
    followersMax: followers,
    quantaPerPiece,
  }).run();
}

function gather(options: SimOptions, receivers: number, random: Random): Crowd {
  const { rate, spread, churn, staggerMs, pieces, pieceBytes } = options;
  const drawn = (): number => rate * spread ** random();
  const changing = Math.floor(churn * receivers);
  const links = Array.from({ length: receivers + changing }, () => ({ up: drawn(), down: drawn() }));
  const middle = rate * Math.sqrt(spread);
  const gold = { up: middle, down: middle };
  const idealMs = fluidBoundMs(pieces * pieceBytes, gold, links);
  const joinMs = links.map((_, at) => (at < receivers ? at * staggerMs : random() * idealMs));
  const deathMs = new Map<number, number>();
  while (deathMs.size < changing) {
    const victim = 1 + Math.floor(random() * receivers);
    if (!deathMs.has(victim)) deathMs.set(victim, (joinMs[victim - 1] ?? 0) + random() * idealMs);
  }
  return { gold, links, joinMs, deathMs };
}

/**
 * The bound of those who live, and of each of them from when it joined. That the dead took bytes with them is not held
 * against the bound; what they sent before they died is.
 */
function boundOf({ pieces, pieceBytes, spread }: SimOptions, { gold, links, joinMs, deathMs }: Crowd): number {
  const totalBytes = pieces * pieceBytes;
  const living = links.flatMap((link, at) => (deathMs.has(at + 1) ? [] : [{ ...link, joinMs: joinMs[at] ?? 0 }]));
  const aloneMs = Math.max(...living.map((link) => link.joinMs + totalBytes / link.down));
  if (spread === 1) {
    const together = joinMs.filter((ms) => ms === 0).length;
    return Math.max(aloneMs, (equalLinksBoundPieces(pieces, Math.max(1, together)) * pieceBytes) / gold.up);
  }
  const uplinks = links.reduce((sum, { up }) => sum + up, gold.up);
  return Math.max(aloneMs, totalBytes / gold.up, (living.length * totalBytes) / uplinks);
}
