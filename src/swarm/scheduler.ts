/**
 * Decides which piece to ask of whom. Pure: it does no I/O, keeps no timer and is told the time, so that the
 * product, the tests and a simulation run the same code.
 *
 * A piece goes missing -> asked -> arrived -> verified. The caller asks {@link Scheduler.nextRequests} what to do,
 * does it, and reports how each request ended. Rules:
 *
 * - Rarest first, ties by chance.
 * - While the gold source alone has some piece, it is asked only for pieces that nobody else has, and it may refuse
 *   one that it has just sent to somebody: it should send each once before it sends any twice.
 * - The holder that should be done first is asked first, by its measured speed and what it already has to do, with
 *   some chance, so that receivers that know the same do not all ask the same.
 * - Few pieces are in flight, and a holder that is busy with others may refuse: a piece that waits in one queue cannot be
 *   sent by somebody else who becomes free.
 * - One holder for each piece, until nothing is missing; then a second one for pieces that are late (the endgame).
 *   Who loses is canceled, and the piece has arrived only when the loser's memory writes have ended too.
 * - A request without a byte for far longer than its holder's speed predicts is canceled and asked elsewhere.
 */
import { assert } from '../core/assert.ts';
import type { RefuseWhen } from '../engine/transfer.ts';
import { Bitmap } from './bitmap.ts';
import { arrivalMs, soonest, worthwhileCopyMs } from './holder-choice.ts';
import { HolderTable } from './holder-table.ts';
import { InFlightWindow } from './in-flight-window.ts';
import { pickPiece } from './piece-picker.ts';
import { type Random, seededRandom } from './random.ts';
import { Rarity } from './rarity.ts';
import { type Ask, Flight, Holder } from './scheduler-holder.ts';
import { type ResolvedSchedulerOptions, schedulerDefaults } from './scheduler-options.ts';
import type { FlightEnd, FlightOutcome, SchedulerInput, SchedulerVerdict } from './scheduler-types.ts';

/** A piece with this score is held by the gold source alone, which has not just sent it to anybody. */
const unsent = 0;
/** Who knows of no other receiver may be the first of many, or have come after one that has gone again. */
const alonePatienceMs = 100;
/** Fewer pieces are sent sooner than others could tell that they have them. */
const sharedPiecesMin = 8;
const patienceMsMin = 1_000;
const patienceMsMax = 5_000;
/** While others have not told yet what they have, all that the gold source has sent may be with them. */
const untoldPatienceMs = 60_000;
/** What a piece is taken to need before the first ones have come. */
const unmeasuredPieceMs = 8;
/** Who leads has more pieces than any other receiver by more than this: in a crowd that starts together nobody does. */
const leadPiecesMin = 4;
/** And by more than this part of all: in a large crowd somebody is always a little ahead of those whom it knows. */
const leadPart = 1 / 64;

export class Scheduler {
  readonly #pieces: number;
  readonly #pieceBytes: (piece: number) => number;
  readonly #options: ResolvedSchedulerOptions;
  readonly #random: Random;
  readonly #missing: Bitmap;
  readonly #verified: Bitmap;
  readonly #asks = new Map<number, Ask>();
  readonly #holders = new HolderTable();
  readonly #banned = new Set<string>();
  /** Receivers that have not told yet what they have. */
  readonly #untold = new Set<string>();
  readonly #rarity: Rarity;
  /** Pieces whose bytes came out wrong from several holders at once: asked of one only from then on. */
  readonly #single = new Set<number>();
  #inFlight = 0;
  /** Missing pieces that no replica has. */
  #goldOnlyMissing: number;
  /** Holders that fetch the object themselves. */
  #fetching = 0;
  readonly #window = new InFlightWindow();
  /** After a refusal nobody is asked before then. */
  #pausedUntilMs = 0;
  /** No holder can be asked before then, unless something happens that sets this back. */
  #nobodyUntilMs = 0;
  /** What the gold source could send is on its way to others; not looked at again before then. */
  #goldReservedUntilMs = 0;
  #lookAgainMs: number | undefined;

  constructor({ pieces, pieceBytes, seed, options }: SchedulerInput) {
    this.#pieces = pieces;
    this.#pieceBytes = pieceBytes;
    this.#options = { ...schedulerDefaults, ...options };
    this.#random = seededRandom(seed);
    this.#missing = Bitmap.full(pieces);
    this.#verified = new Bitmap(pieces);
    this.#rarity = new Rarity(pieces);
    this.#goldOnlyMissing = pieces;
  }

  /** Stores that fetch the object now, this one included. */
  get #receivers(): number {
    return Math.max(1 + this.#fetching, this.#options.receiversExpected);
  }

  get piecesInFlight(): number {
    return this.#inFlight;
  }

  /** Pieces that have arrived and wait for their verdict. */
  get piecesArrived(): number {
    return this.#pieces - this.#verified.count - this.#missing.count - this.#asks.size;
  }

  /** Another receiver, which will tell what it has. */
  expectHolder(id: string): void {
    if (this.#holders.get(id) === undefined && !this.#banned.has(id)) this.#untold.add(id);
  }

  /** It has told, or cannot be heard: what only waited for that may be asked now. */
  expectNothing(id: string): void {
    if (this.#untold.delete(id) && this.#untold.size === 0) this.#wake();
  }

  /** Adds a source, or replaces what was known of its pieces. Ignored for a banned one. */
  setHolder(id: string, role: 'gold' | 'replica', pieces: Bitmap): void {
    this.expectNothing(id);
    if (this.#banned.has(id)) return;
    const known = this.#holders.get(id);
    if (known === undefined) {
      const holder = new Holder(id, role, pieces.clone(), this.#options);
      this.#holders.add(holder);
      if (!pieces.isFull) this.#fetching++;
      this.#nobodyUntilMs = 0;
      for (const piece of holder.pieces) this.#countHolder(piece, role, 1);
      return;
    }
    for (const piece of known.pieces.clone()) if (!pieces.has(piece)) this.removePiece(id, piece);
    for (const piece of pieces) this.addPiece(id, piece);
  }

  /** Whether the last thing that came of asking it was a failure. */
  hasFailed(id: string): boolean {
    return (this.#holders.get(id)?.failures ?? 0) > 0;
  }

  /** Forgets a source. @returns Its requests in flight: cancel them, then report each. */
  removeHolder(id: string): Flight[] {
    this.expectNothing(id);
    const holder = this.#holders.get(id);
    if (holder === undefined) return [];
    this.#holders.delete(holder);
    if (!holder.pieces.isFull) this.#fetching--;
    for (const piece of holder.pieces) this.#countHolder(piece, holder.role, -1);
    this.#wake();
    const flights = [...holder.flights.values()].filter((flight) => !flight.isCanceled);
    for (const flight of flights) flight.isCanceled = true;
    return flights;
  }

  /** Like {@link removeHolder}, and never asks it again. */
  ban(id: string): Flight[] {
    this.#banned.add(id);
    return this.removeHolder(id);
  }

  /** The source has one piece more. */
  addPiece(id: string, piece: number): void {
    const holder = this.#holders.get(id);
    if (holder === undefined) return;
    if (!holder.pieces.add(piece)) return;
    if (holder.isExhausted && this.#missing.has(piece)) {
      holder.isExhausted = false;
      this.#nobodyUntilMs = 0;
    }
    if (holder.pieces.isFull) this.#fetching--;
    this.#countHolder(piece, holder.role, 1);
  }

  removePiece(id: string, piece: number): void {
    const holder = this.#holders.get(id);
    if (holder === undefined) return;
    const wasFull = holder.pieces.isFull;
    if (!holder.pieces.delete(piece)) return;
    if (wasFull) this.#fetching++;
    this.#countHolder(piece, holder.role, -1);
  }

  /** What to ask now. Every request must be reported back once, by `onArrived` or `onFailed`. */
  nextRequests(nowMs: number): Flight[] {
    const requests: Flight[] = [];
    this.#lookAgainMs = undefined;
    const untilMs = Math.max(this.#pausedUntilMs, this.#nobodyUntilMs);
    if (this.#missing.count === 0) this.#planEndgame(nowMs, requests);
    else if (nowMs >= untilMs) this.#planMissing(nowMs, requests);
    else if (Number.isFinite(untilMs)) this.#lookAgainMs = untilMs;
    return requests;
  }

  /** When {@link nextRequests} may have more to ask though nothing has happened; undefined: not before something does. */
  get lookAgainMs(): number | undefined {
    return this.#lookAgainMs;
  }

  /** Until then no news of a source could lead to a request; Infinity: until a request has ended. */
  get newsMatterMs(): number {
    if (this.#missing.count === 0) return 0;
    return this.#inFlight >= this.#windowPieces() ? Number.POSITIVE_INFINITY : this.#pausedUntilMs;
  }

  /** Tells how many bytes of a request are here, though not all yet. */
  onProgress(flight: Flight, bytes: number, nowMs: number): void {
    if (bytes <= flight.progressBytes) return;
    flight.progressBytes = bytes;
    flight.progressMs = nowMs;
  }

  /** All bytes of a request are in memory. */
  onArrived(flight: Flight, nowMs: number): FlightOutcome {
    const bytes = this.#pieceBytes(flight.piece);
    flight.holder.arrived(flight, bytes, nowMs);
    this.#holders.onSpeed();
    this.#window.arrived(bytes, flight.requestedMs, flight.holder.leastMs, nowMs);
    return this.#end(flight, true);
  }

  /** A request ended without all its bytes, and writes no more. */
  onFailed(flight: Flight, nowMs: number, why: FlightEnd): FlightOutcome {
    const { holder, piece } = flight;
    switch (why) {
      case 'failed':
        holder.failed(nowMs);
        break;
      case 'stalled':
        holder.stalled(flight, nowMs);
        this.#holders.onSpeed();
        break;
      case 'busy':
        this.#onBusy(holder, nowMs);
        break;
      case 'sent':
        if (this.#rarity.replicas(piece) === 0) this.#rarity.noteSent(piece, nowMs);
        break;
      case 'canceled':
    }
    return this.#end(flight, false);
  }

  onVerified(piece: number): void {
    this.#verified.add(piece);
  }

  /**
   * The bytes of an arrived piece are wrong; it is missing again. One writer loses the piece (add it again if it
   * proves innocent); of several nobody knows who it was.
   */
  onMismatch(piece: number, writers: readonly string[]): void {
    const [only] = writers;
    if (writers.length === 1 && only !== undefined) this.removePiece(only, piece);
    else this.#single.add(piece);
    this.#becomeMissing(piece);
  }

  /** Requests that make no headway: cancel them, then report each as stalled. */
  stalled(nowMs: number): Flight[] {
    const found: Flight[] = [];
    for (const { flights } of this.#asks.values()) {
      for (const flight of flights) {
        if (flight.isCanceled || !this.#isStalled(flight, nowMs)) continue;
        flight.isCanceled = true;
        found.push(flight);
      }
    }
    return found;
  }

  /** Costs one look at every piece; meant for a slow tick, not for each event. */
  verdict(): SchedulerVerdict {
    if (this.#verified.isFull) return 'complete';
    const missing: number[] = [];
    for (const piece of this.#missing) {
      if (this.#rarity.holders(piece) === 0) missing.push(piece);
    }
    return missing.length === 0 ? 'running' : { missing };
  }

  #countHolder(piece: number, role: 'gold' | 'replica', change: 1 | -1): void {
    const before = this.#rarity.replicas(piece);
    if (change === 1) this.#rarity.add(piece, role);
    else this.#rarity.remove(piece, role);
    const after = this.#rarity.replicas(piece);
    if (!this.#missing.has(piece)) return;
    if (before === 0 && after === 1) this.#goldOnlyMissing--;
    if (before === 1 && after === 0) {
      this.#goldOnlyMissing++;
      this.#wake();
    }
  }

  /** Something may be asked that could not be asked before. */
  #wake(): void {
    this.#nobodyUntilMs = 0;
    this.#goldReservedUntilMs = 0;
  }

  #becomeMissing(piece: number): void {
    if (!this.#missing.add(piece)) return;
    if (this.#rarity.replicas(piece) === 0) this.#goldOnlyMissing++;
    for (const holder of this.#holders.list) {
      if (holder.isExhausted && holder.pieces.has(piece)) holder.isExhausted = false;
    }
    this.#wake();
  }

  #becomeAsked(piece: number): void {
    if (!this.#missing.delete(piece)) return;
    if (this.#rarity.replicas(piece) === 0) this.#goldOnlyMissing--;
  }

  #planMissing(nowMs: number, requests: Flight[]): void {
    const piecesMax = this.#windowPieces();
    while (this.#missing.count > 0 && this.#inFlight < piecesMax) {
      const holder = this.#chooseHolder(nowMs);
      if (holder === undefined) {
        this.#nobodyUntilMs = this.#lookAgainMs ?? Number.POSITIVE_INFINITY;
        return;
      }
      const piece = this.#pick(holder, nowMs);
      if (piece !== undefined) requests.push(this.#begin(holder, piece, nowMs));
    }
  }

  /** How many pieces may be in flight. */
  #windowPieces(): number {
    const { piecesMin, piecesMax, queueMs, sparePieces } = this.#options;
    const wanted = Math.floor(this.#window.bytes(queueMs) / this.#pieceBytes(0)) + sparePieces;
    return Math.min(Math.max(wanted, piecesMin), piecesMax);
  }

  #onBusy(holder: Holder, nowMs: number): void {
    const pieceMs = this.#pieceIntervalMs();
    holder.wasBusy(nowMs, pieceMs, this.#random);
    this.#pausedUntilMs = nowMs + pieceMs * 0.5 * this.#random();
  }

  /** In what time a piece comes, of all holders together. */
  #pieceIntervalMs(): number {
    const { rate } = this.#window;
    return rate === undefined ? unmeasuredPieceMs : this.#pieceBytes(0) / rate;
  }

  #chooseHolder(nowMs: number): Holder | undefined {
    const pieceBytes = this.#pieceBytes(0);
    let mean: number | undefined;
    let best: Holder | undefined;
    let bestMs = Number.POSITIVE_INFINITY;
    for (const holder of this.#holders.list) {
      if (holder.isExhausted) continue;
      const freeMs = holder.role === 'gold' ? Math.max(holder.retryAtMs, this.#goldReservedUntilMs) : holder.retryAtMs;
      if (freeMs > nowMs) this.#lookAgainMs = Math.min(this.#lookAgainMs ?? freeMs, freeMs);
      if (freeMs > nowMs || !holder.canTake(pieceBytes, nowMs, this.#receivers)) continue;
      if (holder.speed === undefined) mean ??= this.#holders.meanSpeed;
      const costMs = this.#costMs(holder, pieceBytes, mean);
      if (costMs >= bestMs) continue;
      best = holder;
      bestMs = costMs;
    }
    return best;
  }

  /** By what holders are compared: when a piece should be here. What only the gold source has comes before all else. */
  #costMs(holder: Holder, pieceBytes: number, mean: number | undefined): number {
    if (holder.role === 'gold' && this.#goldOnlyMissing > 0) return -1;
    return arrivalMs(holder, pieceBytes, mean) * (0.5 + this.#random());
  }

  #pick(holder: Holder, nowMs: number): number | undefined {
    const isGold = holder.role === 'gold';
    const score = isGold
      ? (piece: number) => this.#rarity.replicas(piece) + (this.#rarity.isSent(piece) ? 1 : 0)
      : (piece: number) => this.#rarity.holders(piece);
    const piece = pickPiece(this.#missing, holder.pieces, score, isGold ? unsent : 1, this.#random);
    if (piece === undefined) {
      holder.isExhausted = true;
      return undefined;
    }
    if (!isGold || score(piece) === unsent || !this.#isReserved(piece, holder, nowMs)) return piece;
    this.#goldReservedUntilMs = nowMs + Math.min(this.#patienceMs(holder, piece), patienceMsMax) / 4;
    return undefined;
  }

  /** Whether the gold source is still busy with pieces for others, and this one is on its way to, or with, one of them. */
  #isReserved(piece: number, gold: Holder, nowMs: number): boolean {
    if (this.#goldOnlyMissing === 0) return false;
    if (this.#rarity.replicas(piece) === 0) return this.#rarity.isOnItsWay(piece, nowMs, this.#patienceMs(gold, piece));
    return this.#inFlight > 0;
  }

  #begin(holder: Holder, piece: number, nowMs: number): Flight {
    const bytes = this.#pieceBytes(piece);
    const mean = holder.speed === undefined ? this.#holders.meanSpeed : undefined;
    const expectedMs = arrivalMs(holder, bytes, mean);
    const flight = new Flight({ holder, piece, nowMs, expectedMs, refuseWhen: this.#refuseWhen(holder, piece) });
    this.#becomeAsked(piece);
    let ask = this.#asks.get(piece);
    if (ask === undefined) {
      ask = { flights: new Set(), writers: new Set(), arrivedFrom: undefined };
      this.#asks.set(piece, ask);
    }
    ask.flights.add(flight);
    ask.writers.add(holder.id);
    holder.begin(flight, bytes);
    this.#inFlight++;
    return flight;
  }

  /**
   * A holder should have enough to send for its uplink never to rest, and the gold source should send a piece once. What
   * it sends to us does not count: that is there because it may be. Who leads may add one piece more: what it lacks only
   * few have, and others can turn to it.
   */
  #refuseWhen(holder: Holder, piece: number): RefuseWhen {
    const { busyPieces, queueMs } = this.#options;
    const othersPieces = this.#isLeading() ? busyPieces + 1 : busyPieces;
    const othersBytes = Math.max(othersPieces * this.#pieceBytes(0), 2 * queueMs * (holder.speed ?? 0));
    const queuedBytes = othersBytes + holder.inFlightBytes;
    const isMany = this.#pieces >= sharedPiecesMin;
    const isRare = isMany && holder.role === 'gold' && this.#rarity.replicas(piece) === 0;
    return { queuedBytes, sentWithinMs: isRare ? this.#patienceMs(holder, piece) : 0 };
  }

  #isLeading(): boolean {
    const othersBelow = this.#verified.count - Math.max(leadPiecesMin, leadPart * this.#pieces);
    return this.#fetching > 0 && this.#holders.list.every(({ pieces }) => pieces.isFull || pieces.count < othersBelow);
  }

  /** For how long a piece that somebody else fetches from the gold source is left to them. */
  #patienceMs(gold: Holder, piece: number): number {
    if (this.#untold.size > 0) return untoldPatienceMs;
    if (this.#receivers === 1) return alonePatienceMs;
    const sendMs = gold.speed === undefined ? 0 : arrivalMs(gold, this.#pieceBytes(piece), gold.speed);
    return Math.min(Math.max(2 * sendMs, patienceMsMin), patienceMsMax);
  }

  #end(flight: Flight, hasArrived: boolean): FlightOutcome {
    const { piece, holder } = flight;
    const ask = this.#asks.get(piece);
    const wasInFlight = ask?.flights.delete(flight) === true;
    assert(ask !== undefined && wasInFlight, 'a request is reported once');
    holder.end(flight, this.#pieceBytes(piece));
    this.#inFlight--;
    this.#nobodyUntilMs = 0;
    if (this.#inFlight === 0) this.#wake();
    if (hasArrived) ask.arrivedFrom ??= holder.id;
    const { arrivedFrom } = ask;
    const shouldGiveUp = holder.failures >= this.#options.failuresMax;
    if (ask.flights.size > 0) {
      const cancel = arrivedFrom === undefined ? [] : [...ask.flights].filter((other) => !other.isCanceled);
      for (const other of cancel) other.isCanceled = true;
      return { cancel, ready: undefined, shouldGiveUp };
    }
    this.#asks.delete(piece);
    if (arrivedFrom !== undefined) {
      const holders = [arrivedFrom, ...[...ask.writers].filter((writer) => writer !== arrivedFrom)];
      return { cancel: [], ready: { piece, holders }, shouldGiveUp };
    }
    this.#becomeMissing(piece);
    return { cancel: [], ready: undefined, shouldGiveUp };
  }

  /** Nothing is missing, but pieces are late: asks a second holder that should have them clearly sooner. */
  #planEndgame(nowMs: number, requests: Flight[]): void {
    for (const [piece, ask] of this.#asks) {
      if (this.#inFlight >= this.#options.piecesMax) return;
      if (ask.arrivedFrom !== undefined || ask.flights.size >= this.#options.copiesMax || this.#single.has(piece))
        continue;
      const holder = this.#fasterHolder(piece, ask, nowMs);
      if (holder !== undefined) requests.push(this.#begin(holder, piece, nowMs));
    }
  }

  #fasterHolder(piece: number, ask: Ask, nowMs: number): Holder | undefined {
    const bytes = this.#pieceBytes(piece);
    const worthwhileMs = worthwhileCopyMs(ask.flights, nowMs);
    const candidates: Holder[] = [];
    for (const holder of this.#holders.list) {
      if (!holder.pieces.has(piece) || holder.flights.has(piece)) continue;
      if (holder.canTake(bytes, nowMs, this.#receivers)) candidates.push(holder);
    }
    return soonest(candidates, bytes, this.#holders.meanSpeed, worthwhileMs);
  }

  #isStalled(flight: Flight, nowMs: number): boolean {
    const others = this.#rarity.holders(flight.piece) - (flight.holder.pieces.has(flight.piece) ? 1 : 0);
    return flight.isStalled(nowMs, others > 0);
  }
}
