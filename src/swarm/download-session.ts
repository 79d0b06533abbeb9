/**
 * Pulls one object: follows its sources, asks the scheduler what to fetch of whom, lets the engine read it straight
 * into the target memory, checks it, and thereby offers it to others. Ends in one of two ways, and in both only when
 * nothing reads or writes the target memory any more: every piece is verified, or the error is final.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../observability/logger.ts';
import { AvailabilityReader } from './availability-reader.ts';
import type { DownloadInput } from './download-input.ts';
import { type ResolvedDownloadOptions, resolveDownloadOptions } from './download-options.ts';
import { DownloadReport } from './download-report.ts';
import type { DownloadProgress, DownloadResult } from './download-types.ts';
import { MismatchCourt } from './mismatch-court.ts';
import { Neighbours } from './neighbours.ts';
import type { PeerClient } from './peer-client.ts';
import { PieceFetch } from './piece-fetch.ts';
import { type ArrivedPiece, PieceVerifier } from './piece-verifier.ts';
import { seededRandom } from './random.ts';
import { mapPiece, RangeIndex } from './range-index.ts';
import { Scheduler } from './scheduler.ts';
import type { Flight } from './scheduler-holder.ts';
import type { FlightOutcome } from './scheduler-types.ts';
import type { SharedObject } from './shared-object.ts';
import { SourceFaults } from './source-faults.ts';
import type { SourceInfo } from './source-feed.ts';
import { type RunningDownload, SwarmActivity } from './swarm-activity.ts';

/** How often time-outs and retries are looked at, in ms. */
const tickMs = 200;
/** How often partial pieces are looked at, and the rate is sampled, in ms. */
const sampleMs = 250;

export class DownloadSession implements RunningDownload {
  readonly #input: DownloadInput;
  readonly #object: SharedObject;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: ResolvedDownloadOptions;
  readonly #isVerifying: boolean;
  readonly #scheduler: Scheduler;
  readonly #neighbours: Neighbours;
  readonly #verifier: PieceVerifier;
  readonly #availability: AvailabilityReader;
  readonly #court: MismatchCourt;
  readonly #faults: SourceFaults;
  readonly #report: DownloadReport;
  readonly #activity: SwarmActivity;
  readonly #fetches = new Map<Flight, PieceFetch>();
  readonly #stalled = new Set<Flight>();
  readonly #giveUps = new Map<string, number>();
  readonly #remoteMemory = new WeakMap<SourceInfo, RangeIndex>();
  /** Segments whose address must be looked up anew, because talking to it failed. */
  readonly #stale = new Set<string>();
  readonly #ended: Promise<void>;
  #end: (error?: unknown) => void = () => {};
  #isEnding = false;
  #missingSinceMs: number | undefined;
  #sampledMs = 0;
  #cancelTick: () => void = () => {};
  #cancelLookAgain: () => void = () => {};
  #lookAgainMs: number | undefined;

  constructor(input: DownloadInput, peers: PeerClient) {
    this.#input = input;
    this.#object = input.object;
    this.#clock = input.clock ?? systemClock;
    this.#logger = input.logger ?? silentLogger;
    this.#options = resolveDownloadOptions(input.options);
    const { layout } = this.#object;
    this.#isVerifying = input.verify && layout.digestAlgorithm !== 'none';
    this.#faults = new SourceFaults(layout);
    this.#activity = input.activity ?? new SwarmActivity();
    this.#ended = new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.#ended.catch(() => {}); // run() awaits it too late to count as its handler
    const { seed } = this.#options;
    this.#scheduler = new Scheduler({
      pieces: this.#object.pieces,
      pieceBytes: (piece) => this.#pieceBytes(piece),
      seed,
      options: this.#options.scheduler,
    });
    this.#report = new DownloadReport({
      layout,
      inFlight: () => this.#bytesInFlight(),
      clock: this.#clock,
      verified: this.#isVerifying ? layout.digestAlgorithm : 'none',
      intervalMs: this.#options.progressIntervalMs,
      onProgress: input.onProgress,
      onError: (error) => this.#finish(error),
    });
    this.#verifier = new PieceVerifier(this.#object, input.digester, {
      onVerified: (arrived) => this.#onVerified(arrived),
      onMismatch: (arrived, seen) => this.#onMismatch(arrived, seen),
      onFailed: (error) => this.#finish(error),
    });
    this.#neighbours = this.#createNeighbours(peers, seed);
    this.#court = new MismatchCourt({
      object: this.#object,
      peers,
      scheduler: this.#scheduler,
      faults: this.#faults,
      activity: this.#activity,
      cancel: (flights, reason) => this.#cancel(flights, reason),
      logger: this.#logger,
    });
    this.#availability = new AvailabilityReader({
      object: this.#object,
      scheduler: this.#scheduler,
      neighbours: this.#neighbours,
      faults: this.#faults,
      peers,
      isVerifying: this.#isVerifying,
      clock: this.#clock,
      digestRoot: () => input.digestRoot?.() ?? layout.digestRoot,
      cancel: (flights, reason) => this.#cancel(flights, reason),
    });
  }

  async run(): Promise<DownloadResult> {
    const { signal, digester } = this.#input;
    const onAbort = (): void => this.#finish(signal?.reason);
    let last: (() => DownloadProgress) | undefined;
    const unsubscribe = this.#object.subscribe((change) => {
      if (change.kind === 'root') this.#checkRoot();
      if (change.kind === 'state') this.#finish(this.#withdrawnError());
    });
    this.#object.attachDigester(digester);
    this.#object.attachProgress(() => this.progress());
    this.#activity.running.add(this);
    let outcome: keyof SwarmActivity['ended'] = 'failed';
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#finishIfComplete();
      if (!this.#isEnding) {
        this.#neighbours.start();
        this.#tick();
      }
      await this.#ended;
      const result = this.#report.result();
      outcome = 'completed';
      const told = this.#report.last();
      last = () => told;
      return result;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      unsubscribe();
      await this.#becomeQuiet(outcome === 'completed' ? this.#input.later : undefined);
      this.#object.attachProgress(last);
      this.#activity.running.delete(this);
      this.#activity.ended[outcome === 'failed' && signal?.aborted ? 'canceled' : outcome] += 1;
    }
  }

  progress(): DownloadProgress {
    return this.#report.progress();
  }

  get connectedNeighbours(): number {
    return this.#neighbours.all().filter(({ segment }) => this.#neighbours.isConnected(segment)).length;
  }

  #createNeighbours(peers: PeerClient, seed: number): Neighbours {
    return new Neighbours({
      feed: this.#input.sources,
      layout: this.#object.layout,
      peers,
      wantsDigests: (source) => this.#isVerifying && source.role === 'gold' && !this.#object.knowsAllDigests,
      neighboursMax: this.#options.neighboursMax,
      random: seededRandom(seed ^ 0x5eed),
      clock: this.#clock,
      events: {
        onJoined: (source) => {
          this.#availability.join(source);
          this.#pump();
        },
        onAvailability: (source, message, isFirst) => {
          this.#availability.read(source, message, isFirst);
          this.#pump();
        },
        onLost: (source, error) => this.#onLost(source, error),
        onLeft: (source) => this.#cancel(this.#scheduler.removeHolder(source.segment), 'the source has left'),
      },
    });
  }

  /** Starts whatever can be started now. */
  #pump(): void {
    if (this.#isEnding || this.#scheduler.piecesArrived >= this.#options.unverifiedPiecesMax) return;
    const nowMs = this.#clock.nowMs();
    for (const flight of this.#scheduler.nextRequests(nowMs)) this.#launch(flight);
    this.#lookAgainAt(this.#scheduler.lookAgainMs, nowMs);
  }

  /** One timer at most: an earlier one that is set will ask again for the next. */
  #lookAgainAt(atMs: number | undefined, nowMs: number): void {
    if (atMs === undefined || (this.#lookAgainMs !== undefined && this.#lookAgainMs <= atMs)) return;
    this.#cancelLookAgain();
    this.#lookAgainMs = atMs;
    this.#cancelLookAgain = this.#clock.after(Math.max(atMs - nowMs, 1), () => {
      this.#lookAgainMs = undefined;
      this.#pump();
    });
  }

  #launch(flight: Flight): void {
    const source = this.#neighbours.get(flight.holderId);
    if (source === undefined) {
      this.#settle(flight, new Error('the source has left'));
      return;
    }
    const { layout } = this.#object;
    const refresh = this.#stale.delete(source.segment);
    const segment = this.#input.engine.openSegment(source.segment, { refresh });
    const target = {
      offset: flight.piece * layout.pieceSizeBytes,
      lengthBytes: this.#pieceBytes(flight.piece),
    };
    const extents = mapPiece(target, this.#memoryOf(source), this.#object.memory);
    const fetch = new PieceFetch(this.#input.engine, segment, extents, {
      refuseWhen: flight.refuseWhen,
      digestAlgorithm: this.#isVerifying && layout.digestAlgorithm === 'xxh64' ? 'xxh64' : undefined,
    });
    this.#fetches.set(flight, fetch);
    this.#report.ask(source.segment, source.role);
    fetch.done.then(
      () => this.#settle(flight),
      (error: unknown) => this.#settle(flight, error),
    );
  }

  /** A request has ended, one way or the other, and writes no more. */
  #settle(flight: Flight, error?: unknown): void {
    const fetch = this.#fetches.get(flight);
    this.#report.receive(flight.holderId, fetch?.transferredBytes ?? 0);
    this.#fetches.delete(flight);
    const nowMs = this.#clock.nowMs();
    const isStalled = this.#stalled.delete(flight);
    if (error === undefined) {
      this.#follow(flight, this.#scheduler.onArrived(flight, nowMs), fetch?.digest);
    } else {
      const why = isStalled ? 'stalled' : flight.isCanceled ? 'canceled' : (refusalOf(error) ?? 'failed');
      if (why === 'failed') this.#noteFailure(flight, error);
      this.#follow(flight, this.#scheduler.onFailed(flight, nowMs, why));
    }
    this.#pump();
  }

  /** @param digest - Of the piece as it came with this flight. */
  #follow(flight: Flight, { cancel, ready, shouldGiveUp }: FlightOutcome, digest?: Uint8Array): void {
    this.#cancel(cancel, 'another source was faster');
    if (shouldGiveUp) this.#giveUp(flight.holderId);
    if (ready === undefined || this.#isEnding) return;
    // Another writer may have been there later: then the memory itself is to be digested.
    const isOnlyWriter = ready.holders.length === 1;
    const arrived = { piece: ready.piece, writers: ready.holders, digest: isOnlyWriter ? digest : undefined };
    if (this.#isVerifying) this.#verifier.verify(arrived);
    else this.#onVerified(arrived);
  }

  #noteFailure(flight: Flight, error: unknown): void {
    if (this.#isEnding) return;
    this.#faults.noteError(error);
    this.#stale.add(flight.holderId);
    const source = this.#neighbours.get(flight.holderId);
    this.#logger.debug({ error, segment: flight.holderId, piece: flight.piece }, 'piece fetch failed');
    if (source === undefined) return;
    if (!this.#neighbours.isConnected(source.segment) && this.#availability.wasLost(source)) {
      this.#giveUp(source.segment); // neither its data port nor its peer service answers
    } else if (isP2PStoreError(error) && error.code !== ErrorCode.PeerUnreachable) {
      this.#court.suspect(source, flight.piece);
    }
  }

  /** Once may be bad luck: asks it again when it has told anew what it has. Twice is enough. */
  #giveUp(segment: string): void {
    const times = (this.#giveUps.get(segment) ?? 0) + 1;
    this.#giveUps.set(segment, times);
    if (times > 2) {
      this.#activity.bans.failing += 1;
      this.#cancel(this.#scheduler.ban(segment), 'the source fails');
    } else {
      this.#cancel(this.#scheduler.removeHolder(segment), 'the source fails');
      this.#neighbours.reconnect(segment);
    }
  }

  #onLost(source: SourceInfo, error: unknown): void {
    this.#faults.noteError(error);
    this.#availability.lose(source);
    this.#logger.debug({ error, segment: source.segment }, 'peer lost');
    if (this.#scheduler.hasFailed(source.segment)) {
      this.#cancel(this.#scheduler.removeHolder(source.segment), 'the source does not answer');
    }
  }

  #onVerified({ piece, writers }: ArrivedPiece): void {
    if (this.#isEnding) return;
    this.#scheduler.onVerified(piece);
    const [segment = ''] = writers;
    const bytes = this.#pieceBytes(piece);
    const role = this.#report.verify(segment, bytes);
    if (role !== undefined) this.#activity.verifiedBytes[role] += bytes;
    this.#activity.verifiedPieces += 1;
    this.#object.markVerified(piece, role === 'gold');
    this.#report.tell();
    this.#finishIfComplete();
    this.#pump();
  }

  #onMismatch(arrived: ArrivedPiece, seen: Uint8Array): void {
    if (this.#isEnding) return;
    const { piece, writers } = arrived;
    this.#scheduler.onMismatch(piece, writers);
    this.#activity.mismatches += 1;
    const sources = writers.flatMap((segment) => this.#neighbours.get(segment) ?? []);
    this.#logger.warn({ piece, segments: writers, name: this.#object.layout.name }, 'piece has the wrong digest');
    const error = this.#court.accuse(piece, seen, writers, sources);
    if (error !== undefined) this.#finish(error);
    this.#pump();
  }

  #tick(): void {
    if (this.#isEnding) return;
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#sampledMs >= sampleMs) this.#sample(nowMs);
    for (const flight of this.#scheduler.stalled(nowMs)) {
      this.#stalled.add(flight);
      this.#logger.debug({ segment: flight.holderId, piece: flight.piece }, 'piece stalled');
      this.#fetches.get(flight)?.cancel(new Error('the source stalled'));
    }
    this.#availability.tick(this.#verifier.waitingPieces);
    this.#checkMissing(nowMs);
    this.#report.tell();
    this.#pump();
    this.#cancelTick = this.#clock.after(tickMs, () => this.#tick());
  }

  #sample(nowMs: number): void {
    this.#sampledMs = nowMs;
    this.#report.sample(nowMs);
    for (const [flight, fetch] of this.#fetches) this.#scheduler.onProgress(flight, fetch.transferredBytes, nowMs);
  }

  *#bytesInFlight(): Generator<[segment: string, bytes: number]> {
    for (const [flight, fetch] of this.#fetches) yield [flight.holderId, fetch.transferredBytes];
  }

  #checkMissing(nowMs: number): void {
    const verdict = this.#scheduler.verdict();
    const missing = typeof verdict === 'object' ? verdict.missing : this.#undigestible();
    if (missing.length === 0) {
      this.#missingSinceMs = undefined;
      return;
    }
    if (this.#missingSinceMs === undefined) this.#neighbours.widen(16);
    this.#missingSinceMs ??= nowMs;
    if (nowMs - this.#missingSinceMs < this.#faults.graceMs(missing, this.#options.graceMs)) return;
    this.#finish(this.#faults.explain(missing));
  }

  /** Pieces that arrived, but whose digest nobody left can vouch for. */
  #undigestible(): number[] {
    if (this.#verifier.waitingPieces === 0 || this.#availability.canLearnDigests()) return [];
    return this.#verifier.waiting();
  }

  /** Digests that the gold source told one by one must add up to the root that the record names. */
  #checkRoot(): void {
    const expected = this.#input.digestRoot?.() ?? this.#object.layout.digestRoot;
    if (!this.#isVerifying || expected === undefined || expected === this.#object.rootHex) return;
    const { name } = this.#object.layout;
    const context = { name, pieceIndex: 0, segment: '' };
    const message = `Cannot pull object "${name}": the digests of its pieces do not match its record`;
    this.#finish(new P2PStoreError(ErrorCode.DigestMismatch, message, context));
  }

  #cancel(flights: readonly Flight[], why: string): void {
    for (const flight of flights) this.#fetches.get(flight)?.cancel(new Error(why));
  }

  #finishIfComplete(): void {
    if (this.#object.isComplete) this.#finish();
  }

  #finish(error?: unknown): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#end(error);
  }

  async #becomeQuiet(later: DownloadInput['later']): Promise<void> {
    this.#isEnding = true;
    this.#cancelTick();
    this.#cancelLookAgain();
    this.#neighbours.close(later);
    const fetches = [...this.#fetches.values()];
    for (const fetch of fetches) fetch.cancel(new Error('the download has ended'));
    await Promise.allSettled([
      ...fetches.map(({ done }) => done),
      this.#verifier.close(),
      this.#court.close(),
      this.#availability.close(),
    ]);
  }

  #withdrawnError(): P2PStoreError {
    return new P2PStoreError(ErrorCode.Closed, 'Cannot pull object: its replica was deleted', { resource: 'replica' });
  }

  #memoryOf(source: SourceInfo): RangeIndex {
    let memory = this.#remoteMemory.get(source);
    if (memory === undefined) {
      memory = new RangeIndex(source.ranges);
      this.#remoteMemory.set(source, memory);
    }
    return memory;
  }

  #pieceBytes(piece: number): number {
    const { totalSize, pieceSizeBytes } = this.#object.layout;
    return Math.min(pieceSizeBytes, totalSize - piece * pieceSizeBytes);
  }
}

/** Why a source would not send a piece now, when it was allowed to say so. */
function refusalOf(error: unknown): 'busy' | 'sent' | undefined {
  return isP2PStoreError(error, ErrorCode.TransferRefused) ? error.context.reason : undefined;
}
