import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { type ObjectLayout, pieceAt } from './layout.ts';
import type { SourceInfo } from './source-feed.ts';

/** With a known reason there is less to hope for than with a source that is merely gone. */
const knownReasonGraceMs = 1_000;

/** Remembers what sources said or did wrong, to explain a failure by its cause. */
export class SourceFaults {
  readonly #layout: ObjectLayout;
  /** Piece -> the source whose owner changed it. */
  readonly #changed = new Map<number, string>();
  /** Sources whose memory cannot be read. */
  readonly #unreadable = new Map<string, { readonly source: SourceInfo; readonly reason: string }>();
  #lastError: unknown;

  constructor(layout: ObjectLayout) {
    this.#layout = layout;
  }

  noteChanged(piece: number, segment: string): void {
    this.#changed.set(piece, segment);
  }

  noteUnreadable(source: SourceInfo, reason: string): void {
    this.#unreadable.set(source.segment, { source, reason });
  }

  noteError(error: unknown): void {
    this.#lastError = error;
  }

  /** How long to wait for another source of the missing pieces. */
  graceMs(missing: readonly number[], graceMs: number): number {
    const isExplained = this.#unreadable.size > 0 || missing.some((piece) => this.#changed.has(piece));
    return isExplained ? Math.min(graceMs, knownReasonGraceMs) : graceMs;
  }

  /** Why these pieces cannot be had. */
  explain(missing: readonly number[]): P2PStoreError {
    const { name } = this.#layout;
    const cause = this.#lastError === undefined ? undefined : { cause: this.#lastError };
    for (const piece of missing) {
      const segment = this.#changed.get(piece);
      if (segment === undefined) continue;
      return new P2PStoreError(
        ErrorCode.MemoryChanged,
        `Cannot pull object "${name}": its memory at ${segment} was changed after it was registered`,
        { name, pieceIndex: piece, segment },
        cause,
      );
    }
    const missingBytes = missing.reduce((total, piece) => total + pieceAt(this.#layout, piece).lengthBytes, 0);
    for (const { source, reason } of this.#unreadable.values()) {
      return new P2PStoreError(
        ErrorCode.MemoryFault,
        `Cannot pull object "${name}": its memory at ${source.segment} cannot be read (${reason})`,
        { address: BigInt(source.ranges[0]?.address ?? 0), lengthBytes: missingBytes },
        cause,
      );
    }
    return new P2PStoreError(
      ErrorCode.NoSource,
      `Cannot pull object "${name}": no source has ${missing.length} of its pieces, ${missingBytes} bytes`,
      { name, missingPieces: missing.length, missingBytes },
      cause,
    );
  }
}
