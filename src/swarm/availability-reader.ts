/** Takes in what sources tell: to the scheduler who has what, to the object the digests that may be believed. */
import type { Clock } from '../core/clock.ts';
import { Bitmap } from './bitmap.ts';
import { type Availability, State } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { Neighbours } from './neighbours.ts';
import type { PeerClient } from './peer-client.ts';
import type { Scheduler } from './scheduler.ts';
import type { Flight } from './scheduler-holder.ts';
import type { SharedObject } from './shared-object.ts';
import type { SourceFaults } from './source-faults.ts';
import type { SourceInfo } from './source-feed.ts';

export interface AvailabilityReaderInput {
  readonly object: SharedObject;
  readonly scheduler: Scheduler;
  readonly neighbours: Neighbours;
  readonly faults: SourceFaults;
  readonly peers: Pick<PeerClient, 'getDigests'>;
  readonly isVerifying: boolean;
  readonly clock: Clock;
  /** The root by the object's record, in hex. */
  readonly digestRoot: () => string | undefined;
  readonly cancel: (flights: readonly Flight[], why: string) => void;
}

/** How long to leave a source alone that could not tell the digests, in ms. */
const askAgainMs = 1_000;

export class AvailabilityReader {
  readonly #input: AvailabilityReaderInput;
  readonly #lost = new Set<string>();
  readonly #askedMs = new Map<string, number>();
  readonly #closed = new AbortController();
  /** The root as a gold source told it, in hex. */
  #toldRoot: string | undefined;
  #asking: Promise<void> | undefined;

  constructor(input: AvailabilityReaderInput) {
    this.#input = input;
  }

  /** A complete source can be asked for bytes before its first message. */
  join(source: SourceInfo): void {
    const { scheduler, object } = this.#input;
    if (source.isComplete) scheduler.setHolder(source.segment, source.role, Bitmap.full(object.pieces));
    else if (source.peerEndpoint !== '') scheduler.expectHolder(source.segment);
  }

  lose(source: SourceInfo): void {
    this.#lost.add(source.segment);
    this.#input.scheduler.expectNothing(source.segment);
  }

  /** Whether its control connection failed since it last told anything, or it never had one. */
  wasLost({ segment, peerEndpoint }: SourceInfo): boolean {
    return peerEndpoint === '' || this.#lost.has(segment);
  }

  read(source: SourceInfo, message: Availability, isFirst: boolean): void {
    const { scheduler, faults, cancel } = this.#input;
    this.#lost.delete(source.segment);
    if (message.state !== State.SERVING) {
      if (message.state === State.DAMAGED) faults.noteUnreadable(source, message.reason);
      cancel(scheduler.removeHolder(source.segment), 'the source has left');
      return;
    }
    if (isFirst && !this.#readBitmap(source, message)) return;
    this.#readChanges(source, message);
    if (source.role === 'gold' && this.#input.isVerifying) this.#readDigests(message);
  }

  /** Asks for the list of digests where no gold source tells them. */
  tick(piecesWaiting: number): void {
    const root = this.#root();
    const { object, neighbours, isVerifying } = this.#input;
    if (!isVerifying || object.knowsAllDigests || root === undefined || this.#asking !== undefined) return;
    if (piecesWaiting === 0 && this.#hasGold()) return;
    const nowMs = this.#input.clock.nowMs();
    const askedMs = ({ segment }: SourceInfo): number => this.#askedMs.get(segment) ?? Number.NEGATIVE_INFINITY;
    const [source] = neighbours.all().sort((a, b) => askedMs(a) - askedMs(b) || 0); // one that is silent must not come first again
    if (source === undefined || nowMs - askedMs(source) <= askAgainMs) return;
    this.#askedMs.set(source.segment, nowMs);
    this.#asking = this.#askDigests(source, root).finally(() => {
      this.#asking = undefined;
    });
  }

  /** Whether anybody is left who may know a digest that is missing. */
  canLearnDigests(): boolean {
    return this.#hasGold() || this.#asking !== undefined;
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error('the download has ended'));
    await this.#asking;
  }

  #hasGold(): boolean {
    const { neighbours } = this.#input;
    return neighbours.all().some(({ role, segment }) => role === 'gold' && neighbours.isConnected(segment));
  }

  #root(): string | undefined {
    return this.#input.digestRoot() ?? this.#toldRoot;
  }

  #readBitmap(source: SourceInfo, message: Availability): boolean {
    const { scheduler, object } = this.#input;
    const pieces = Bitmap.decode(object.pieces, message.bitmap);
    if (pieces === undefined) return false;
    scheduler.setHolder(source.segment, source.role, pieces);
    return true;
  }

  #readChanges({ segment }: SourceInfo, message: Availability): void {
    const { scheduler, object, faults } = this.#input;
    const isPiece = (piece: number): boolean => piece < object.pieces;
    for (const piece of message.added.filter(isPiece)) scheduler.addPiece(segment, piece);
    for (const piece of message.changed.filter(isPiece)) {
      scheduler.removePiece(segment, piece);
      faults.noteChanged(piece, segment);
    }
  }

  #readDigests(message: Availability): void {
    const { object } = this.#input;
    for (const { firstPiece, digests } of message.digests) object.setDigests(firstPiece, digests);
    if (message.digestRoot.length > 0) this.#toldRoot ??= Buffer.from(message.digestRoot).toString('hex');
  }

  async #askDigests(source: SourceInfo, root: string): Promise<void> {
    const { object, peers } = this.#input;
    try {
      const digests = await peers.getDigests(source, object.layout, { signal: this.#closed.signal });
      if (digests !== undefined && !this.#closed.signal.aborted) object.adoptDigests(digests, root);
    } catch {
      // Somebody else is asked at the next tick, and it again later.
    }
  }
}
