/** A swarm on virtual time: real schedulers, simulated machines, links and messages. */
import { Bitmap } from '../src/swarm/bitmap.ts';
import { type Random, seededRandom } from '../src/swarm/random.ts';
import type { SchedulerOptions } from '../src/swarm/scheduler-options.ts';
import type { Link } from './bounds.ts';
import { EventQueue } from './event-queue.ts';
import { Network } from './network.ts';
import { type Message, Peer, type PeerWorld } from './peer.ts';

export interface SimulationOptions {
  /** Of the gold source first, then of each receiver, in bytes per ms. */
  readonly links: readonly Link[];
  /** When each receiver joins, in ms. */
  readonly joinMs: readonly number[];
  /** When a receiver dies, in ms; absent: never. */
  readonly deathMs: ReadonlyMap<number, number>;
  readonly pieces: number;
  readonly pieceBytes: number;
  readonly seed: number;
  /** One way, in ms. */
  readonly latencyMs: number;
  /** After how long others notice that a machine is gone. */
  readonly detectMs: number;
  /** Between the arrival of a piece and its offer to others: the digest, and what surrounds it. */
  readonly pieceCostMs: number;
  /** Least time between two messages of a store. */
  readonly coalesceMs: number;
  readonly neighboursMax: number;
  /** Receivers that may follow the gold source. */
  readonly followersMax: number;
  readonly quantaPerPiece: number;
  readonly scheduler?: SchedulerOptions;
}

export interface SimulationResult {
  /** By receiver: its own time from its start to its last piece, in ms; undefined for one that died. */
  readonly ownMs: readonly (number | undefined)[];
  /** From the first start to the last end. */
  readonly makespanMs: number;
  readonly goldSentBytes: number;
  /** Pieces asked of a second holder, and requests canceled. */
  readonly canceled: number;
  readonly refused: number;
  /** Received, by all. */
  readonly messages: number;
  readonly events: number;
}

const kind = {
  uplinkFree: 0,
  quantumArrived: 1,
  message: 2,
  flush: 3,
  verified: 4,
  tick: 5,
  join: 6,
  die: 7,
  lookAgain: 8,
  bury: 9,
} as const;
const tickMs = 50;

export class Simulation implements PeerWorld {
  readonly queue: EventQueue = new EventQueue();
  readonly network: Network;
  readonly options: SimulationOptions;
  readonly random: Random;
  readonly peers: Peer[] = [];
  readonly #messages: (Message | undefined)[] = [];
  readonly #freeMessages: number[] = [];
  /** Receivers that others may follow. */
  readonly #alive: Peer[] = [];
  readonly #gold: Peer;
  readonly #ownMs: (number | undefined)[];
  /** Receivers that are alive and not done. */
  #busy: number;
  #lastMs = 0;
  #events = 0;
  #messageCount = 0;

  constructor(options: SimulationOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    const { latencyMs, quantaPerPiece } = options;
    this.network = new Network(
      this.queue,
      options.links,
      { uplinkFree: kind.uplinkFree, quantumArrived: kind.quantumArrived },
      { latencyMs, quantaPerPiece, pieces: options.pieces },
    );
    this.#gold = new Peer(this, 0, 'gold', Bitmap.full(options.pieces));
    this.peers.push(this.#gold);
    for (const [at, joinMs] of options.joinMs.entries()) this.queue.push(joinMs, kind.join, at + 1);
    for (const [receiver, deathMs] of options.deathMs) this.queue.push(deathMs, kind.die, receiver);
    this.#ownMs = new Array<number | undefined>(options.joinMs.length).fill(undefined);
    this.#busy = options.joinMs.length;
  }

  run(): SimulationResult {
    const handle = (what: number, value: number): void => this.#handle(what, value);
    while (this.#busy > 0 && this.queue.next(handle)) this.#events++;
    if (this.#busy > 0) throw new Error('the swarm stands still');
    return {
      ownMs: this.#ownMs,
      makespanMs: this.#lastMs,
      goldSentBytes: this.network.sentBytes(0),
      canceled: this.peers.reduce((sum, peer) => sum + (peer === undefined ? 0 : peer.canceled), 0),
      refused: this.peers.reduce((sum, peer) => sum + (peer === undefined ? 0 : peer.refused), 0),
      messages: this.#messageCount,
      events: this.#events,
    };
  }

  send(message: Omit<Message, 'atMs'>): void {
    const at = this.#freeMessages.pop() ?? this.#messages.length;
    const atMs = this.queue.nowMs + this.options.latencyMs;
    this.#messages[at] = { ...message, atMs };
    this.#messageCount += message.to.length;
    this.queue.push(atMs, kind.message, at);
  }

  flushAt(peer: Peer, atMs: number): void {
    this.queue.push(atMs, kind.flush, peer.index);
  }

  verifySoon(peer: Peer, piece: number): void {
    const atMs = peer.verifierFreeMs(this.options.pieceCostMs);
    this.queue.push(atMs, kind.verified, peer.index * this.options.pieces + piece);
  }

  lookAgain(peer: Peer, atMs: number): void {
    this.queue.push(atMs, kind.lookAgain, peer.index);
  }

  finished(peer: Peer): void {
    this.#lastMs = this.queue.nowMs;
    this.#ownMs[peer.index - 1] = this.queue.nowMs - peer.startedMs;
    this.#busy--;
  }

  #handle(what: number, value: number): void {
    switch (what) {
      case kind.uplinkFree:
        this.network.onUplinkFree(value);
        break;
      case kind.quantumArrived:
        this.network.onQuantumArrived(value);
        break;
      case kind.message:
        this.#deliver(value);
        break;
      case kind.flush:
        this.peers[value]?.flush();
        break;
      case kind.verified:
        this.peers[Math.floor(value / this.options.pieces)]?.onVerified(value % this.options.pieces);
        break;
      case kind.tick:
        this.#tick(value);
        break;
      case kind.join:
        this.#join(value);
        break;
      case kind.lookAgain:
        this.peers[value]?.pump();
        break;
      case kind.die:
        this.#die(value);
        break;
      case kind.bury:
        this.peers[value]?.bury(this.#gold);
        break;
    }
  }

  #deliver(at: number): void {
    const message = this.#messages[at];
    if (message === undefined) return;
    this.#messages[at] = undefined;
    this.#freeMessages.push(at);
    for (const follower of message.to) follower.onMessage(message);
  }

  #tick(index: number): void {
    const peer = this.peers[index];
    if (peer === undefined || !peer.isAlive || peer.isDone) return;
    peer.tick();
    this.queue.push(this.queue.nowMs + tickMs, kind.tick, index);
  }

  /** The newcomer follows some by chance, and as many follow it: all have about as many followers, early or late. */
  #join(index: number): void {
    const peer = new Peer(this, index, 'replica', new Bitmap(this.options.pieces));
    this.peers[index] = peer;
    peer.followGold(this.#gold);
    for (const other of sampleOf(this.#alive, this.options.neighboursMax, this.random)) peer.followReplica(other);
    for (const other of this.#adopters()) other.followReplica(peer);
    this.#alive.push(peer);
    this.queue.push(this.queue.nowMs + tickMs * (0.5 + 0.5 * this.random()), kind.tick, index);
  }

  /**
   * Each of the others would take the newcomer with probability max / n ({@link NeighbourSample.meet}). Instead of
   * asking each, this leaps to the next that does, so that ten thousand joins do not cost a hundred million steps.
   */
  #adopters(): Peer[] {
    const chance = this.options.neighboursMax / (this.#alive.length + 1);
    if (chance >= 1) return [...this.#alive];
    const found: Peer[] = [];
    for (let at = -1; ; ) {
      at += 1 + Math.floor(Math.log(1 - this.random()) / Math.log(1 - chance));
      const other = this.#alive[at];
      if (other === undefined) return found;
      found.push(other);
    }
  }

  findNeighbour(not: ReadonlySet<Peer>): Peer | undefined {
    const tries = 4 * (not.size + 1);
    for (let tried = 0; tried < tries; tried++) {
      const other = this.#alive[Math.floor(this.random() * this.#alive.length)];
      if (other !== undefined && !not.has(other)) return other;
    }
    return undefined;
  }

  #die(index: number): void {
    const peer = this.peers[index];
    if (peer === undefined || !peer.isAlive) return;
    if (!peer.isDone) this.#busy--;
    peer.die();
    this.#alive.splice(this.#alive.indexOf(peer), 1);
    this.queue.push(this.queue.nowMs + this.options.detectMs, kind.bury, index);
  }
}

/** @returns `count` different ones, or all when there are not more. */
function sampleOf<T>(all: readonly T[], count: number, random: Random): Iterable<T> {
  if (all.length <= count) return [...all];
  const chosen = new Set<T>();
  while (chosen.size < count) {
    const one = all[Math.floor(random() * all.length)];
    if (one !== undefined) chosen.add(one);
  }
  return chosen;
}
