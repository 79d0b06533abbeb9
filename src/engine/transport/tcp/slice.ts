import type { P2PStoreError } from '../../../core/errors.ts';
import type { TransportRequest } from '../transport.ts';
import type { PeerConnection } from './tcp-path.ts';

/** One request on its way: the slices that it was cut into, and what became of them. */
export class RequestProgress {
  readonly request: TransportRequest;
  readonly slices: readonly Slice[];
  /** Whose part of a rate limit it uses; 0 without limits. */
  readonly flow: number;
  readonly #onSliceSettled: (slice: Slice) => void;
  #unsettled: number;
  #error: P2PStoreError | 'canceled' | undefined;
  isCanceled = false;
  /** Of its bytes, if that was asked and it was not cut; told with the last slice. */
  digest: Uint8Array | undefined;

  constructor(
    request: TransportRequest,
    sliceBytes: number,
    nextId: () => number,
    onSliceSettled: (slice: Slice) => void,
    flow = 0,
  ) {
    this.flow = flow;
    this.request = request;
    this.#onSliceSettled = onSliceSettled;
    const slices: Slice[] = [];
    for (let offset = 0; offset < request.lengthBytes; offset += sliceBytes) {
      const lengthBytes = Math.min(sliceBytes, request.lengthBytes - offset);
      slices.push({
        id: nextId(),
        progress: this,
        offset,
        lengthBytes,
        failures: 0,
        toldBytes: 0,
        connection: undefined,
        isMoved: false,
      });
    }
    this.slices = slices;
    this.#unsettled = slices.length;
  }

  get isSettled(): boolean {
    return this.#unsettled === 0;
  }

  get hasFailed(): boolean {
    return this.#error !== undefined;
  }

  /** Tells how much of a slice is here. One that is asked for again tells only what goes beyond the first time. */
  note(slice: Slice, bytes: number): void {
    if (bytes <= slice.toldBytes) return;
    this.request.onProgress(bytes - slice.toldBytes);
    slice.toldBytes = bytes;
  }

  /** Counts one slice as ended; the first error is the request's. The last slice settles it. */
  settle(slice: Slice, error?: P2PStoreError | 'canceled'): void {
    if (error === undefined) this.note(slice, slice.lengthBytes);
    else this.#error ??= error;
    this.#unsettled -= 1;
    this.#onSliceSettled(slice);
    if (this.#unsettled === 0) this.request.onSettled(this.#error, this.digest);
  }
}

/** The part of a request that travels on one connection. */
export interface Slice {
  readonly id: number;
  readonly progress: RequestProgress;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Connections that ended while this slice was being served. */
  failures: number;
  /** How much of it the request was told. */
  toldBytes: number;
  connection: PeerConnection | undefined;
  /** Whether it was stopped where it was, to go over another path. */
  isMoved: boolean;
}
