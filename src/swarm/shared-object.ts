/** What one store has of one object, and so offers to its peers. */
import { assert } from '../core/assert.ts';
import { digestBytes, digestSizeBytes } from '../digest/digest-bytes.ts';
import type { MemoryRange } from '../memory/memory-range.ts';
import { Bitmap } from './bitmap.ts';
import type { Digester } from './digester.ts';
import type { DownloadProgress } from './download-types.ts';
import { type ObjectLayout, pieceAt, pieceCount } from './layout.ts';
import { RangeIndex } from './range-index.ts';

export type SharedState =
  | { readonly tag: 'serving' }
  /** The memory could not be read; nothing of the object is offered any more. */
  | { readonly tag: 'damaged'; readonly reason: string }
  | { readonly tag: 'withdrawn' };

export type SharedChange =
  | { readonly kind: 'verified'; readonly piece: number; readonly isFirstCopy: boolean }
  | { readonly kind: 'changed' | 'digest'; readonly piece: number }
  | { readonly kind: 'root' | 'state' };

export interface SharedObjectOptions {
  readonly layout: ObjectLayout;
  /** A gold source has everything from the start; a replica only what it has verified. */
  readonly role: 'gold' | 'replica';
  /** Where the bytes are, or will be, in logical order. They must add up to `layout.totalSize`. */
  readonly ranges: readonly MemoryRange[];
}

/**
 * Pieces, digests and state of one object in this store. Peers see it through the peer service; a download session
 * or the gold source's digest run writes it. Everything here is synchronous and costs O(1) a change.
 */
export class SharedObject {
  readonly layout: ObjectLayout;
  readonly role: 'gold' | 'replica';
  readonly memory: RangeIndex<MemoryRange>;
  readonly pieces: number;
  readonly #verified: Bitmap;
  readonly #changed = new Set<number>();
  readonly #digests: Uint8Array;
  readonly #digestSizeBytes: number;
  readonly #digestsKnown: Bitmap;
  readonly #listeners = new Set<(change: SharedChange) => void>();
  #root: Uint8Array | undefined;
  #state: SharedState = { tag: 'serving' };
  #digester: Digester | undefined;
  #progress: (() => DownloadProgress) | undefined;

  constructor({ layout, role, ranges }: SharedObjectOptions) {
    this.layout = layout;
    this.role = role;
    this.memory = new RangeIndex(ranges);
    assert(this.memory.totalBytes === layout.totalSize, 'ranges and layout differ in size');
    this.pieces = pieceCount(layout);
    this.#verified = role === 'gold' ? Bitmap.full(this.pieces) : new Bitmap(this.pieces);
    this.#digestSizeBytes = layout.digestAlgorithm === 'none' ? 0 : digestSizeBytes(layout.digestAlgorithm);
    this.#digests = new Uint8Array(this.pieces * this.#digestSizeBytes);
    this.#digestsKnown = new Bitmap(this.pieces);
  }

  get state(): SharedState {
    return this.#state;
  }

  /** Pieces that may be offered. Read only. */
  get verified(): Bitmap {
    return this.#verified;
  }

  get isComplete(): boolean {
    return this.#verified.isFull;
  }

  /** Pieces whose memory was found to hold other bytes than their digest says. */
  get changedPieces(): ReadonlySet<number> {
    return this.#changed;
  }

  get knowsAllDigests(): boolean {
    return this.#digestsKnown.isFull && this.#digestSizeBytes > 0;
  }

  /** All digests concatenated; only where known ones are meant. Read only. */
  get digests(): Uint8Array {
    return this.#digests;
  }

  get digestsKnown(): Bitmap {
    return this.#digestsKnown;
  }

  /** Digest over the concatenated digests, once all are known. */
  get root(): Uint8Array | undefined {
    return this.#root;
  }

  /** The same in hex, as records hold it. */
  get rootHex(): string | undefined {
    return this.#root === undefined ? undefined : Buffer.from(this.#root).toString('hex');
  }

  get digester(): Digester | undefined {
    return this.#digester;
  }

  /** How its download goes, or went. */
  get progress(): DownloadProgress | undefined {
    return this.#progress?.();
  }

  /** Where one piece lies. */
  rangesOf(piece: number): MemoryRange[] {
    const { offset, lengthBytes } = pieceAt(this.layout, piece);
    return this.memory.slice(offset, lengthBytes);
  }

  digestOf(piece: number): Uint8Array | undefined {
    if (!this.#digestsKnown.has(piece)) return undefined;
    return this.#digests.subarray(piece * this.#digestSizeBytes, (piece + 1) * this.#digestSizeBytes);
  }

  /** Lets the peer service look at the memory again when a peer doubts it. */
  attachDigester(digester: Digester): void {
    this.#digester = digester;
  }

  attachProgress(progress: (() => DownloadProgress) | undefined): void {
    this.#progress = progress;
  }

  /**
   * The piece is in memory and right: it is offered from now on.
   *
   * @param isFirstCopy - Whether it came from a gold source: no other receiver may have it.
   */
  markVerified(piece: number, isFirstCopy = false): void {
    if (this.#verified.add(piece)) this.#tell({ kind: 'verified', piece, isFirstCopy });
  }

  /** Stops to offer a piece whose memory the owner changed. */
  markChanged(piece: number): void {
    if (this.#changed.has(piece)) return;
    this.#changed.add(piece);
    this.#verified.delete(piece);
    this.#tell({ kind: 'changed', piece });
  }

  /** Takes a digest from who may say it. The last one completes the root. */
  setDigest(piece: number, digest: Uint8Array): void {
    assert(digest.length === this.#digestSizeBytes, 'digest has the wrong length');
    if (!this.#digestsKnown.add(piece)) return;
    this.#digests.set(digest, piece * this.#digestSizeBytes);
    this.#tell({ kind: 'digest', piece });
    if (this.#digestsKnown.isFull) this.#completeRoot();
  }

  /** Takes digests of consecutive pieces from who may say them; what lies past the object is ignored. */
  setDigests(firstPiece: number, digests: Uint8Array): void {
    const size = this.#digestSizeBytes;
    for (let at = 0; size > 0 && (at + 1) * size <= digests.length && firstPiece + at < this.pieces; at++) {
      this.setDigest(firstPiece + at, digests.subarray(at * size, (at + 1) * size));
    }
  }

  /**
   * Takes all digests at once from someone untrusted, if they match the root that the object's record names.
   *
   * @returns Whether they do.
   */
  adoptDigests(digests: Uint8Array, rootHex: string): boolean {
    const algorithm = this.layout.digestAlgorithm;
    if (algorithm === 'none' || digests.length !== this.#digests.length) return false;
    if (Buffer.from(digestBytes(algorithm, digests)).toString('hex') !== rootHex) return false;
    this.setDigests(0, digests);
    return true;
  }

  /** The memory cannot be read: offers nothing any more. */
  markDamaged(reason: string): void {
    if (this.#state.tag !== 'serving') return;
    this.#state = { tag: 'damaged', reason };
    this.#tell({ kind: 'state' });
  }

  /** The object was unregistered or its replica deleted: offers nothing any more, for good. */
  withdraw(): void {
    if (this.#state.tag === 'withdrawn') return;
    this.#state = { tag: 'withdrawn' };
    this.#tell({ kind: 'state' });
  }

  /** Calls `listener` at every change, at once. It must not throw. @returns Ends it. */
  subscribe(listener: (change: SharedChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** An object without bytes has no piece that could complete its root. */
  completeEmpty(): void {
    if (this.pieces === 0 && this.#root === undefined) this.#completeRoot();
  }

  #completeRoot(): void {
    const algorithm = this.layout.digestAlgorithm;
    if (algorithm === 'none') return;
    this.#root = digestBytes(algorithm, this.#digests);
    this.#tell({ kind: 'root' });
  }

  #tell(change: SharedChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
