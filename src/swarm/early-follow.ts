import type { Availability } from './gen/p2pstore/peer/v1/peer_pb.ts';

export interface FollowOptions {
  readonly wantsDigests: boolean;
  /** Not called after an abort. What it throws ends the stream. */
  readonly onMessage: (message: Availability) => void;
  readonly signal: AbortSignal;
}

/** Messages kept for who takes the stream over; a peer that tells more before anybody does is followed anew then. */
const keptMax = 64;

/**
 * A stream of a peer that was opened before a download needs it: while the target is being made, or before the peer serves anything, as
 * it waits for the same object as this store. What it tells is kept until a download of that object takes it over.
 */
export class EarlyFollow {
  /** Resolves when somebody has taken the stream over: true; or when it has ended before. */
  readonly isTaken: Promise<boolean>;
  readonly #stop = new AbortController();
  readonly #outcome: Promise<void>;
  readonly #kept: Availability[] = [];
  #deliver: ((message: Availability) => void) | undefined;
  #onTaken: () => void = () => {};

  /** @param read - Reads the stream to its end. */
  constructor(read: (options: Pick<FollowOptions, 'onMessage' | 'signal'>) => Promise<void>) {
    this.#outcome = read({ onMessage: (message) => this.#onMessage(message), signal: this.#stop.signal });
    this.isTaken = new Promise((resolve) => {
      this.#onTaken = () => resolve(true);
      this.#outcome.finally(() => resolve(false)).catch(() => {});
    });
  }

  /** Ends the stream, unless somebody has taken it over. */
  release(reason: unknown): void {
    if (this.#deliver === undefined) this.#stop.abort(reason);
  }

  /**
   * Calls back with all that the peer has told, and goes on; to be called once.
   *
   * @returns true when the peer serves the object no more; false when the stream was of an object of another generation.
   * @throws What ended the stream early.
   */
  async take(generation: string, { onMessage, signal }: Pick<FollowOptions, 'onMessage' | 'signal'>): Promise<boolean> {
    let isOther = false;
    this.#deliver = (message) => {
      isOther ||= message.generation !== '' && message.generation !== generation;
      if (isOther) this.#stop.abort(new Error('the peer serves another object of this name'));
      else onMessage(message);
    };
    this.#onTaken();
    const onAbort = (): void => this.#stop.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for (const message of this.#kept.splice(0)) this.#deliver(message);
      await this.#outcome;
    } catch (error) {
      if (!isOther) {
        this.#stop.abort(error);
        throw error;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    return !isOther;
  }

  #onMessage(message: Availability): void {
    if (this.#deliver !== undefined) this.#deliver(message);
    else if (this.#kept.push(message) > keptMax) throw new Error('the peer tells what nobody waits for');
  }
}
