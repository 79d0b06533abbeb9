/** One store of the simulated swarm: does with its scheduler what a download session does, without bytes. */
import type { Bitmap } from '../src/swarm/bitmap.ts';
import { NeighbourSample } from '../src/swarm/neighbour-sample.ts';
import type { Random } from '../src/swarm/random.ts';
import { Scheduler } from '../src/swarm/scheduler.ts';
import type { Flight } from '../src/swarm/scheduler-holder.ts';
import type { FlightOutcome } from '../src/swarm/scheduler-types.ts';
import type { EventQueue } from './event-queue.ts';
import type { Network, Transfer, TransferEnd } from './network.ts';
import type { SimulationOptions } from './simulation.ts';

/** What a store tells its followers. */
export interface Message {
  readonly from: Peer;
  /** When it comes. */
  readonly atMs: number;
  readonly to: readonly Peer[];
  /** The whole, to a new follower. */
  readonly pieces?: Bitmap;
  readonly added: readonly number[];
}

/** What a peer needs of the simulation. */
export interface PeerWorld {
  readonly queue: EventQueue;
  readonly network: Network;
  readonly options: SimulationOptions;
  readonly random: Random;
  readonly peers: readonly Peer[];
  send(message: Omit<Message, 'atMs'>): void;
  flushAt(peer: Peer, atMs: number): void;
  verifySoon(peer: Peer, piece: number): void;
  lookAgain(peer: Peer, atMs: number): void;
  finished(peer: Peer): void;
  /** Somebody alive to follow, by chance, other than those in `not`. */
  findNeighbour(not: ReadonlySet<Peer>): Peer | undefined;
}

export class Peer {
  readonly index: number;
  readonly id: string;
  readonly role: 'gold' | 'replica';
  readonly verified: Bitmap;
  readonly startedMs: number;
  isAlive = true;
  canceled = 0;
  refused = 0;
  readonly #world: PeerWorld;
  readonly #scheduler: Scheduler;
  readonly #transfers = new Map<Flight, Transfer>();
  readonly #stalled = new Set<Flight>();
  readonly #neighbours = new Set<Peer>();
  readonly #replicas: NeighbourSample<Peer>;
  readonly #followers = new Set<Peer>();
  /** Messages that are read when they may matter. */
  #inbox: Message[] = [];
  /** News cannot lead to a request before then. */
  #deafUntilMs = 0;
  #added: number[] = [];
  #isFlushing = false;
  #toldMs = Number.NEGATIVE_INFINITY;
  #verifierFreeMs = 0;
  #lookingAgainMs = 0;

  constructor(world: PeerWorld, index: number, role: 'gold' | 'replica', verified: Bitmap) {
    this.#world = world;
    this.index = index;
    this.id = String(index);
    this.role = role;
    this.verified = verified;
    this.startedMs = world.queue.nowMs;
    const { pieces, pieceBytes, seed, scheduler, neighboursMax } = world.options;
    this.#replicas = new NeighbourSample(neighboursMax, world.random);
    this.#scheduler = new Scheduler({
      pieces: role === 'gold' ? 0 : pieces,
      pieceBytes: () => pieceBytes,
      seed: seed * 100_003 + index,
      ...(scheduler && { options: scheduler }),
    });
  }

  get isDone(): boolean {
    return this.verified.isFull;
  }

  get isFollowingAll(): boolean {
    return !this.#replicas.hasRoom;
  }

  /** Follows the gold source, if it takes one follower more. */
  followGold(gold: Peer): void {
    const isWanted = this.isAlive && !this.isDone && !this.#neighbours.has(gold);
    if (isWanted && gold.#followers.size < this.#world.options.followersMax) this.#follow(gold);
  }

  /** Follows another store, in place of a random one if it follows as many as it may. */
  followReplica(other: Peer): void {
    if (!this.isAlive || this.isDone || other === this || this.#neighbours.has(other)) return;
    const displaced = this.#replicas.take(other);
    if (displaced !== undefined) this.#leave(displaced);
    this.#follow(other);
  }

  /**
   * What it tells matters only when the next request is chosen, so it is read then: the same choices, in a fraction of
   * the time.
   */
  onMessage(message: Message): void {
    if (!this.isAlive || this.isDone) return;
    this.#inbox.push(message);
    if (message.atMs >= this.#deafUntilMs) this.pump();
  }

  /** The machine is gone, which others have not noticed yet. */
  die(): void {
    this.isAlive = false;
    this.#inbox = [];
    this.#world.network.kill(this.index);
  }

  /** Others notice that it is gone: its requests end at those whom it asked, and its followers look for another. */
  bury(gold: Peer): void {
    for (const transfer of [...this.#transfers.values()]) this.#world.network.cancel(transfer);
    this.#world.network.cut(this.index);
    for (const neighbour of this.#neighbours) neighbour.#followers.delete(this);
    if (this.#neighbours.delete(gold)) this.#world.findNeighbour(gold.#followers)?.followGold(gold);
    for (const follower of [...this.#followers]) follower.#lose(this);
  }

  onVerified(piece: number): void {
    if (!this.isAlive) return;
    this.#scheduler.onVerified(piece);
    this.verified.add(piece);
    this.#added.push(piece);
    this.#tell();
    if (this.isDone) {
      this.#world.finished(this);
      for (const neighbour of this.#neighbours) neighbour.#followers.delete(this);
    } else {
      this.pump();
    }
  }

  tick(): void {
    const { nowMs } = this.#world.queue;
    this.#read();
    for (const [flight, transfer] of this.#transfers) this.#scheduler.onProgress(flight, transfer.arrivedBytes, nowMs);
    for (const flight of this.#scheduler.stalled(nowMs)) {
      this.#stalled.add(flight);
      this.#cancel([flight]);
    }
    this.pump();
  }

  flush(): void {
    this.#isFlushing = false;
    this.#toldMs = this.#world.queue.nowMs;
    if (!this.isAlive) return;
    const added = this.#added;
    this.#added = [];
    if (this.#followers.size > 0) this.#world.send({ from: this, to: [...this.#followers], added });
  }

  /** When the verifier is done with one more piece that it gets now. */
  verifierFreeMs(costMs: number): number {
    this.#verifierFreeMs = Math.max(this.#verifierFreeMs, this.#world.queue.nowMs) + costMs;
    return this.#verifierFreeMs;
  }

  #follow(other: Peer): void {
    this.#neighbours.add(other);
    other.#followers.add(this);
    if (!other.isDone) this.#scheduler.expectHolder(other.id);
    this.#world.send({ from: other, to: [this], added: [], pieces: other.verified.clone() });
  }

  #lose(other: Peer): void {
    this.#replicas.remove(other);
    this.#leave(other);
    const instead = this.#world.findNeighbour(this.#neighbours);
    if (instead !== undefined) this.followReplica(instead);
  }

  #leave(other: Peer): void {
    this.#read();
    this.#neighbours.delete(other);
    other.#followers.delete(this);
    this.#cancel(this.#scheduler.removeHolder(other.id));
  }

  pump(): void {
    if (!this.isAlive || this.isDone) return;
    this.#read();
    for (const flight of this.#scheduler.nextRequests(this.#world.queue.nowMs)) this.#launch(flight);
    this.#deafUntilMs = this.#scheduler.newsMatterMs;
    const { lookAgainMs } = this.#scheduler;
    if (
      lookAgainMs === undefined ||
      (this.#lookingAgainMs > this.#world.queue.nowMs && this.#lookingAgainMs <= lookAgainMs)
    )
      return;
    this.#lookingAgainMs = lookAgainMs;
    this.#world.lookAgain(this, lookAgainMs);
  }

  #read(): void {
    for (const { from, pieces, added } of this.#inbox) {
      if (!this.#neighbours.has(from)) continue;
      if (pieces !== undefined) this.#scheduler.setHolder(from.id, from.role, pieces);
      for (const piece of added) this.#scheduler.addPiece(from.id, piece);
    }
    this.#inbox.length = 0;
  }

  #launch(flight: Flight): void {
    const { network, options } = this.#world;
    const from = Number(flight.holderId);
    const onDone = (end: TransferEnd): void => this.#settle(flight, end);
    const { piece, refuseWhen } = flight;
    const request = { from, to: this.index, bytes: options.pieceBytes, piece, refuseWhen, onDone };
    this.#transfers.set(flight, network.send(request));
  }

  #settle(flight: Flight, end: TransferEnd): void {
    this.#transfers.delete(flight);
    if (!this.isAlive) return;
    this.#read();
    const { nowMs } = this.#world.queue;
    if (end === 'arrived') {
      this.#followOutcome(this.#scheduler.onArrived(flight, nowMs));
    } else {
      const why = this.#stalled.delete(flight) ? 'stalled' : flight.isCanceled ? 'canceled' : end;
      if (end === 'busy' || end === 'sent') this.refused++;
      else this.canceled++;
      this.#followOutcome(this.#scheduler.onFailed(flight, nowMs, why));
    }
    this.pump();
  }

  #followOutcome({ cancel, ready }: FlightOutcome): void {
    this.#cancel(cancel);
    if (ready !== undefined) this.#world.verifySoon(this, ready.piece);
  }

  #cancel(flights: readonly Flight[]): void {
    for (const flight of flights) {
      const transfer = this.#transfers.get(flight);
      if (transfer !== undefined) this.#world.network.cancel(transfer);
    }
  }

  #tell(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    this.#world.flushAt(this, Math.max(this.#world.queue.nowMs, this.#toldMs + this.#world.options.coalesceMs));
  }
}
