/** Decides whose fault a wrong piece is. A source is asked to look again; who lies or fails twice is banned. */
import { setMaxListeners } from 'node:events';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { Logger } from '../observability/logger.ts';
import { Verdict } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { PeerClient } from './peer-client.ts';
import type { Scheduler } from './scheduler.ts';
import type { Flight } from './scheduler-holder.ts';
import type { SharedObject } from './shared-object.ts';
import type { SourceFaults } from './source-faults.ts';
import type { SourceInfo } from './source-feed.ts';
import type { SwarmActivity } from './swarm-activity.ts';

export interface MismatchCourtInput {
  readonly object: SharedObject;
  readonly peers: Pick<PeerClient, 'reportMismatch'>;
  readonly scheduler: Scheduler;
  readonly faults: SourceFaults;
  readonly activity: SwarmActivity;
  readonly cancel: (flights: readonly Flight[], why: string) => void;
  readonly logger: Logger;
}

/** Wrong copies of one piece after which the download fails: something between the stores damages bytes. */
const mismatchesMax = 8;
/** A replica gets one pardon for bytes damaged on the way, the gold source, which nobody can replace, three. */
const strikesMax = { gold: 4, replica: 2 } as const;

export class MismatchCourt {
  readonly #input: MismatchCourtInput;
  readonly #mismatches = new Map<number, number>();
  readonly #strikes = new Map<string, number>();
  readonly #trials = new Map<string, Promise<void>>();
  readonly #closed = new AbortController();

  constructor(input: MismatchCourtInput) {
    this.#input = input;
    setMaxListeners(0, this.#closed.signal); // one for each open question
  }

  /**
   * A piece came out wrong. One writer is asked about it; of several nobody knows who it was.
   *
   * @returns The error that ends the download, when that piece was wrong too often.
   */
  accuse(
    piece: number,
    seen: Uint8Array,
    writers: readonly string[],
    sources: readonly SourceInfo[],
  ): P2PStoreError | undefined {
    const times = (this.#mismatches.get(piece) ?? 0) + 1;
    this.#mismatches.set(piece, times);
    const [source] = sources;
    if (writers.length === 1 && source !== undefined) this.#charge(source, piece, seen);
    if (times < mismatchesMax) return undefined;
    const { name } = this.#input.object.layout;
    const segment = writers.join(' ');
    return new P2PStoreError(
      ErrorCode.DigestMismatch,
      `Cannot pull object "${name}": piece ${piece} came out wrong ${times} times`,
      { name, pieceIndex: piece, segment },
    );
  }

  /** A source failed to send a piece: finds out whether its memory can still be read. One question at a time. */
  suspect(source: SourceInfo, piece: number): void {
    const key = `question ${source.segment}`;
    if (!this.#trials.has(key)) this.#open(key, this.#question(source, piece));
  }

  async close(): Promise<void> {
    this.#closed.abort(new Error('the download has ended'));
    await Promise.allSettled(this.#trials.values());
  }

  /** A replica that sends a second wrong piece before it has answered for the first is not asked any more. */
  #charge(source: SourceInfo, piece: number, seen: Uint8Array): void {
    const key = source.role === 'gold' ? `trial ${source.segment} ${piece}` : `trial ${source.segment}`;
    if (this.#trials.has(key)) this.#ban(source);
    else this.#open(key, this.#try(source, piece, seen));
  }

  #ban(source: SourceInfo): void {
    this.#input.activity.bans.wrong_bytes += 1;
    this.#input.cancel(this.#input.scheduler.ban(source.segment), 'the source sends wrong bytes');
  }

  #open(key: string, trial: Promise<void>): void {
    this.#trials.set(key, trial);
    void trial.finally(() => this.#trials.delete(key));
  }

  async #try(source: SourceInfo, piece: number, seen: Uint8Array): Promise<void> {
    const { scheduler, faults, logger } = this.#input;
    const verdict = await this.#ask(source, piece, seen);
    if (this.#closed.signal.aborted) return;
    logger.warn({ segment: source.segment, piece, verdict }, 'source looked at its memory again');
    if (verdict === Verdict.MEMORY_FAULT) {
      this.#drop(source, 'its memory cannot be read');
      return;
    }
    if (verdict === Verdict.MEMORY_CHANGED) faults.noteChanged(piece, source.segment);
    if (verdict === Verdict.MEMORY_CHANGED && source.role === 'gold') return; // other pieces may be as they were
    const strikes = (this.#strikes.get(source.segment) ?? 0) + (verdict === Verdict.INTACT ? 1 : 2);
    this.#strikes.set(source.segment, strikes);
    if (strikes < strikesMax[source.role]) scheduler.addPiece(source.segment, piece);
    else this.#ban(source);
  }

  async #question(source: SourceInfo, piece: number): Promise<void> {
    const verdict = await this.#ask(source, piece, new Uint8Array());
    if (this.#closed.signal.aborted) return;
    if (verdict === Verdict.MEMORY_FAULT) this.#drop(source, 'it could not be sent');
  }

  #drop(source: SourceInfo, reason: string): void {
    this.#input.faults.noteUnreadable(source, reason);
    this.#input.activity.bans.unreadable += 1;
    this.#input.cancel(this.#input.scheduler.ban(source.segment), reason);
  }

  async #ask(source: SourceInfo, piece: number, digestSeen: Uint8Array): Promise<Verdict> {
    const { peers, object } = this.#input;
    const options = { signal: this.#closed.signal };
    try {
      return await peers.reportMismatch(source, object.layout, { piece, digestSeen }, options);
    } catch {
      return Verdict.UNSPECIFIED; // it cannot, or does not want to, tell
    }
  }
}
