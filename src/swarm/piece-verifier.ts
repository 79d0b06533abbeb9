import type { Digester } from './digester.ts';
import type { SharedObject } from './shared-object.ts';

/** An arrived piece, and who may have written it. */
export interface ArrivedPiece {
  readonly piece: number;
  readonly writers: readonly string[];
  /** Of the memory, when somebody has digested it already; set only with a single writer. */
  readonly digest?: Uint8Array | undefined;
}

export interface PieceVerifierEvents {
  readonly onVerified: (arrived: ArrivedPiece) => void;
  /** The memory holds bytes with another digest: `seen`. */
  readonly onMismatch: (arrived: ArrivedPiece, seen: Uint8Array) => void;
  /** The target memory cannot be read. */
  readonly onFailed: (error: unknown) => void;
}

/** Compares arrived pieces with their digests; a piece whose digest is not known yet waits for it. */
export class PieceVerifier {
  readonly #object: SharedObject;
  readonly #digester: Digester;
  readonly #events: PieceVerifierEvents;
  readonly #waiting = new Map<number, ArrivedPiece>();
  readonly #jobs = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;

  constructor(object: SharedObject, digester: Digester, events: PieceVerifierEvents) {
    this.#object = object;
    this.#digester = digester;
    this.#events = events;
    this.#unsubscribe = object.subscribe((change) => {
      if (change.kind !== 'digest') return;
      const arrived = this.#waiting.get(change.piece);
      if (arrived !== undefined) this.verify(arrived);
    });
  }

  /** Pieces that are in memory but whose digest nobody has told yet. */
  get waitingPieces(): number {
    return this.#waiting.size;
  }

  /** Their indices. */
  waiting(): number[] {
    return [...this.#waiting.keys()];
  }

  verify(arrived: ArrivedPiece): void {
    const expected = this.#object.digestOf(arrived.piece);
    if (expected === undefined) {
      this.#waiting.set(arrived.piece, arrived);
      return;
    }
    this.#waiting.delete(arrived.piece);
    const job = this.#run(arrived, expected).finally(() => this.#jobs.delete(job));
    this.#jobs.add(job);
  }

  /** Starts nothing more, and resolves when nothing reads the target memory any more. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    await Promise.allSettled(this.#jobs);
  }

  async #run(arrived: ArrivedPiece, expected: Uint8Array): Promise<void> {
    const { signal } = this.#stop;
    const algorithm = this.#object.layout.digestAlgorithm;
    if (algorithm === 'none') return;
    try {
      const ranges = this.#object.rangesOf(arrived.piece);
      const seen = arrived.digest ?? (await this.#digester.digest(algorithm, ranges, { signal }));
      if (signal.aborted) return;
      if (Buffer.compare(seen, expected) === 0) this.#events.onVerified(arrived);
      else this.#events.onMismatch(arrived, seen);
    } catch (error) {
      if (!signal.aborted) this.#events.onFailed(error);
    }
  }
}
