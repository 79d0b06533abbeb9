import type { Segment } from '../engine/segment.ts';
import type { Batch, TransferRequest } from '../engine/transfer.ts';
import type { Extent } from './range-index.ts';

/** The part of the transfer engine that a download uses. */
export interface PieceEngine {
  openSegment(name: string, options?: { readonly refresh?: boolean; readonly signal?: AbortSignal }): Promise<Segment>;
  submitTransfer(requests: readonly TransferRequest[], options?: { readonly signal?: AbortSignal }): Batch;
}

/** What is asked of a piece besides its bytes. */
export type PieceWishes = Pick<TransferRequest, 'refuseWhen' | 'digestAlgorithm'>;

/** One piece on its way from one source, straight into the target memory. */
export class PieceFetch {
  /**
   * Settles when nothing of this fetch writes to the target memory any more.
   *
   * @throws What the engine says, or the reason of {@link cancel}.
   */
  readonly done: Promise<void>;
  #batch: Batch | undefined;
  #cancelReason: unknown;
  /** Ends the wait for the segment; a fetch that has none yet has nothing to make quiet. */
  #stopWaiting: () => void = () => {};

  /** @param wishes - Not told to the source when the piece lies in several ranges: they are about all of it. */
  constructor(engine: PieceEngine, segment: Promise<Segment>, extents: readonly Extent[], wishes: PieceWishes) {
    this.done = this.#run(engine, segment, extents, extents.length === 1 ? wishes : {});
  }

  /** Of the piece as it came, once done; undefined when nobody digested it on the way. */
  get digest(): Uint8Array | undefined {
    return this.#batch?.tasks[0]?.digest;
  }

  /** Bytes that have arrived so far, as far as the engine tells. */
  get transferredBytes(): number {
    let total = 0;
    for (const task of this.#batch?.tasks ?? []) total += task.transferredBytes;
    return total;
  }

  cancel(reason: Error): void {
    this.#cancelReason ??= reason;
    this.#batch?.cancel(reason);
    this.#stopWaiting();
  }

  async #run(
    engine: PieceEngine,
    opening: Promise<Segment>,
    extents: readonly Extent[],
    wishes: PieceWishes,
  ): Promise<void> {
    const canceled = new Promise<undefined>((resolve) => {
      this.#stopWaiting = () => resolve(undefined);
    });
    const segment = await Promise.race([opening, canceled]);
    if (segment === undefined) {
      opening.catch(() => {}); // nobody waits for it any more
      throw this.#cancelReason;
    }
    this.#batch = engine.submitTransfer(
      extents.map(({ remoteAddress, localAddress, lengthBytes }) => ({
        opcode: 'read',
        segment,
        localAddress,
        remoteAddress,
        lengthBytes,
        ...wishes,
      })),
    );
    await this.#batch.done;
  }
}
