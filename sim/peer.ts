/** One store of the simulated swarm: does with its scheduler what a download session does, without bytes. */
import type { Bitmap } from '../src/swarm/bitmap.ts';
import type { Random } from '../src/swarm/random.ts';
import { type FlightOutcome, Scheduler } from '../src/swarm/scheduler.ts';
import type { Flight } from '../src/swarm/scheduler-holder.ts';
import type { EventQueue } from './event-queue.ts';
import type { Network, Transfer, TransferEnd } from './network.ts';
import type { SimulationOptions } from './simulation.ts';

/** What a store tells its followers. */
export interface Message {
  readonly from: Peer;
  readonly to: readonly Peer[];
  /** The whole, to a new follower. */
  readonly pieces?: Bitmap;
  readonly added: readonly number[];
  readonly claimed: readonly number[];
  readonly unclaimed: readonly number[];
}

/** What a peer needs of the simulation. */
export interface PeerWorld {
  readonly queue: EventQueue;
  readonly network: Network;
  readonly options: SimulationOptions;
  readonly random: Random;
  readonly peers: readonly Peer[];
  send(message: Message): void;
  flushAt(peer: Peer, atMs: number): void;
  verifySoon(peer: Peer, piece: number): void;
  lookAgain(peer: Peer, atMs: number): void;
  finished(peer: Peer): void;
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
  readonly #followers = new Set<Peer>();
  readonly #claims = new Set<number>();
  /** Stores heard of; those not followed may be later. */
  #met = 0;
  #added: number[] = [];
  #claimed = new Set<number>();
  #unclaimed: number[] = [];
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
    const { pieces, pieceBytes, seed, scheduler } = world.options;
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

  /** Hears of another store: follows it while it has room, or in place of another so that the choice stays even. */
  meet(other: Peer): void {
    if (this.isDone || !this.isAlive || this.#neighbours.has(other)) return;
    const { neighboursMax } = this.#world.options;
    if (other.role === 'gold') {
      if (other.#followers.size < this.#world.options.followersMax) this.#follow(other);
      return;
    }
    this.#met++;
    const replicas = [...this.#neighbours].filter(({ role }) => role === 'replica');
    if (replicas.length < neighboursMax) this.#follow(other);
    else if (this.#world.random() < neighboursMax / this.#met) {
      const displaced = replicas[Math.floor(this.#world.random() * replicas.length)];
      if (displaced !== undefined) this.#leave(displaced);
      this.#follow(other);
    }
  }

  onMessage(message: Message): void {
    if (!this.isAlive || this.isDone || !this.#neighbours.has(message.from)) return;
    const { id, role } = message.from;
    const { nowMs } = this.#world.queue;
    if (message.pieces !== undefined) this.#scheduler.setHolder(id, role, message.pieces);
    for (const piece of message.added) this.#scheduler.addPiece(id, piece);
    for (const piece of message.claimed) this.#scheduler.claim(id, piece, nowMs);
    for (const piece of message.unclaimed) this.#scheduler.unclaim(id, piece);
    this.pump();
  }

  onDeath(other: Peer): void {
    this.#followers.delete(other);
    if (this.#neighbours.has(other)) this.#leave(other);
  }

  onVerified(piece: number): void {
    if (!this.isAlive) return;
    this.#scheduler.onVerified(piece);
    this.verified.add(piece);
    this.#claims.delete(piece);
    this.#claimed.delete(piece);
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
    if (this.#added.length + this.#claimed.size + this.#unclaimed.length === 0) return;
    const message = { added: this.#added, claimed: [...this.#claimed], unclaimed: this.#unclaimed };
    this.#added = [];
    this.#claimed = new Set();
    this.#unclaimed = [];
    if (this.#followers.size > 0) this.#world.send({ from: this, to: [...this.#followers], ...message });
  }

  /** When the verifier is done with one more piece that it gets now. */
  verifierFreeMs(costMs: number): number {
    this.#verifierFreeMs = Math.max(this.#verifierFreeMs, this.#world.queue.nowMs) + costMs;
    return this.#verifierFreeMs;
  }

  #follow(other: Peer): void {
    this.#neighbours.add(other);
    other.#followers.add(this);
    const whole = { pieces: other.verified.clone(), claimed: [...other.#claims] };
    this.#world.send({ from: other, to: [this], added: [], unclaimed: [], ...whole });
  }

  #leave(other: Peer): void {
    this.#neighbours.delete(other);
    other.#followers.delete(this);
    this.#cancel(this.#scheduler.removeHolder(other.id));
  }

  pump(): void {
    if (!this.isAlive || this.isDone) return;
    for (const flight of this.#scheduler.nextRequests(this.#world.queue.nowMs)) this.#launch(flight);
    const { lookAgainMs } = this.#scheduler;
    if (
      lookAgainMs === undefined ||
      (this.#lookingAgainMs > this.#world.queue.nowMs && this.#lookingAgainMs <= lookAgainMs)
    )
      return;
    this.#lookingAgainMs = lookAgainMs;
    this.#world.lookAgain(this, lookAgainMs);
  }

  #launch(flight: Flight): void {
    const { network, options, peers } = this.#world;
    const from = Number(flight.holderId);
    if (peers[from]?.role === 'gold') this.#claim(flight.piece);
    const onDone = (end: TransferEnd): void => this.#settle(flight, end);
    const { piece, refuseWhen } = flight;
    const request = { from, to: this.index, bytes: options.pieceBytes, piece, refuseWhen, onDone };
    this.#transfers.set(flight, network.send(request));
  }

  #settle(flight: Flight, end: TransferEnd): void {
    this.#transfers.delete(flight);
    if (!this.isAlive) return;
    const { nowMs } = this.#world.queue;
    if (end === 'arrived') {
      this.#followOutcome(flight, this.#scheduler.onArrived(flight, nowMs));
    } else {
      const why = this.#stalled.delete(flight) ? 'stalled' : flight.isCanceled ? 'canceled' : end;
      if (end === 'busy' || end === 'sent') this.refused++;
      else this.canceled++;
      this.#followOutcome(flight, this.#scheduler.onFailed(flight, nowMs, why));
    }
    this.pump();
  }

  #followOutcome(flight: Flight, { cancel, ready }: FlightOutcome): void {
    this.#cancel(cancel);
    if (ready !== undefined) this.#world.verifySoon(this, ready.piece);
    else if (!this.#scheduler.isAsked(flight.piece)) this.#unclaim(flight.piece);
  }

  #cancel(flights: readonly Flight[]): void {
    for (const flight of flights) {
      const transfer = this.#transfers.get(flight);
      if (transfer !== undefined) this.#world.network.cancel(transfer);
    }
  }

  #claim(piece: number): void {
    if (this.#claims.has(piece)) return;
    this.#claims.add(piece);
    this.#claimed.add(piece);
    this.#tell();
  }

  #unclaim(piece: number): void {
    if (!this.#claims.delete(piece)) return;
    if (!this.#claimed.delete(piece)) this.#unclaimed.push(piece);
    this.#tell();
  }

  #tell(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    this.#world.flushAt(this, Math.max(this.#world.queue.nowMs, this.#toldMs + this.#world.options.coalesceMs));
  }
}
