import { abortable } from '../core/abort.ts';
import type { Segment } from '../engine/segment.ts';
import type { Batch, TransferRequest } from '../engine/transfer.ts';
import type { Extent } from './range-index.ts';

/** The part of the transfer engine that a download uses. */
export interface PieceEngine {
  openSegment(name: string, options?: { readonly refresh?: boolean; readonly signal?: AbortSignal }): Promise<Segment>;
  submitTransfer(requests: readonly TransferRequest[], options?: { readonly signal?: AbortSignal }): Batch;
}

/** One piece on its way from one source, straight into the target memory. */
export class PieceFetch {
  /**
   * Settles when nothing of this fetch writes to the target memory any more.
   *
   * @throws What the engine says, or the reason of {@link cancel}.
   */
  readonly done: Promise<void>;
  readonly #canceled = new AbortController();
  #batch: Batch | undefined;

  constructor(engine: PieceEngine, segment: Promise<Segment>, extents: readonly Extent[]) {
    this.done = this.#run(engine, segment, extents);
  }

  /** Bytes that have arrived so far, as far as the engine tells. */
  get transferredBytes(): number {
    let total = 0;
    for (const task of this.#batch?.tasks ?? []) total += task.transferredBytes;
    return total;
  }

  cancel(reason: unknown): void {
    this.#canceled.abort(reason);
  }

  async #run(engine: PieceEngine, opening: Promise<Segment>, extents: readonly Extent[]): Promise<void> {
    const { signal } = this.#canceled;
    const segment = await abortable(opening, signal);
    this.#batch = engine.submitTransfer(
      extents.map(({ remoteAddress, localAddress, lengthBytes }) => ({
        opcode: 'read',
        segment,
        localAddress,
        remoteAddress,
        lengthBytes,
      })),
      { signal },
    );
    await this.#batch.done;
  }
}
