import { assert } from '../../../core/assert.ts';
import type { P2PStoreError } from '../../../core/errors.ts';
import type { TransportRequest } from '../transport.ts';
import type { RemoteRange } from './handshake.ts';
import type { LocalRegistration } from './local-memory.ts';

/** A part of a request that one work request moves. */
export interface RdmaSlice {
  readonly transfer: RdmaTransfer;
  readonly offset: number;
  readonly lengthBytes: number;
  /** What was known of the remote memory when it was posted. */
  readonly range: RemoteRange | undefined;
}

/** Each was on a queue pair that ended; a request that ends them all by itself must end some time. */
const SLICE_LOSSES_MAX = 64;

/** One request on its way: which bytes are still to be sent, and how it ended once nothing of it is posted any more. */
export class RdmaTransfer {
  readonly request: TransportRequest;
  readonly local: LocalRegistration;
  /** Where the remote bytes lie; undefined: not known yet. */
  range: RemoteRange | undefined;
  /** Whether the peer is being asked for that. */
  isLearning = false;
  readonly #onSettled: (transfer: RdmaTransfer) => void;
  readonly #again: { readonly offset: number; readonly lengthBytes: number }[] = [];
  #nextOffset = 0;
  #doneBytes = 0;
  #inflight = 0;
  #losses = 0;
  #outcome: P2PStoreError | 'canceled' | undefined;
  #isSettled = false;

  /** @param onSettled - Called once, just before the request's own. */
  constructor(request: TransportRequest, local: LocalRegistration, onSettled: (transfer: RdmaTransfer) => void) {
    this.request = request;
    this.local = local;
    this.#onSettled = onSettled;
  }

  /** Slices that are posted. */
  get inflight(): number {
    return this.#inflight;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Whether it failed or was cancelled, and only waits for what is posted. */
  get isEnding(): boolean {
    return this.#outcome !== undefined;
  }

  get unsentBytes(): number {
    if (this.isEnding) return 0;
    return this.request.lengthBytes - this.#nextOffset + this.#again.reduce((sum, part) => sum + part.lengthBytes, 0);
  }

  get hasUnsent(): boolean {
    return !this.isEnding && (this.#again.length > 0 || this.#nextOffset < this.request.lengthBytes);
  }

  /** The next slice, of `bytesMax` at most; from here on it counts as posted. */
  take(bytesMax: number): RdmaSlice {
    assert(this.hasUnsent, 'there is something to take');
    this.#inflight += 1;
    const { offset, lengthBytes } = this.#again.pop() ?? this.#rest();
    const taken = Math.min(bytesMax, lengthBytes);
    if (taken < lengthBytes) this.#again.push({ offset: offset + taken, lengthBytes: lengthBytes - taken });
    return { transfer: this, offset, lengthBytes: taken, range: this.range };
  }

  /** Everything that was never taken, which then counts as to be sent again. */
  #rest(): { readonly offset: number; readonly lengthBytes: number } {
    const offset = this.#nextOffset;
    this.#nextOffset = this.request.lengthBytes;
    return { offset, lengthBytes: this.request.lengthBytes - offset };
  }

  onDone({ lengthBytes }: RdmaSlice): void {
    this.#inflight -= 1;
    this.#doneBytes += lengthBytes;
    if (!this.isEnding) this.request.onProgress(lengthBytes);
    this.#settleIfQuiet();
  }

  /**
   * The slice has not been carried out, or nobody knows; it is to be sent again.
   *
   * @param giveUp - Makes the error of a request that was lost too often.
   */
  onLost({ offset, lengthBytes }: RdmaSlice, giveUp: () => P2PStoreError): void {
    this.#inflight -= 1;
    this.#losses += 1;
    this.#again.push({ offset, lengthBytes });
    if (this.#losses > SLICE_LOSSES_MAX) this.#outcome ??= giveUp();
    this.#settleIfQuiet();
  }

  /** Ends it, once nothing of it is posted. The first reason stays. */
  end(outcome: P2PStoreError | 'canceled'): void {
    this.#outcome ??= outcome;
    this.#settleIfQuiet();
  }

  #settleIfQuiet(): void {
    if (this.#inflight > 0 || this.#isSettled) return;
    if (this.#outcome === undefined && this.#doneBytes < this.request.lengthBytes) return;
    this.#isSettled = true;
    this.#onSettled(this);
    this.request.onSettled(this.#outcome);
  }
}
