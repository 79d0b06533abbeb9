import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AvailabilitySchema, DigestRunSchema } from './gen/p2pstore/peer/v1/peer_pb.ts';
import { State } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { SharedChange, SharedObject } from './shared-object.ts';

type AvailabilityInit = MessageInitShape<typeof AvailabilitySchema>;

/** Changes of a shared object that some follower has not been told: sets of pieces, so they never outgrow the object. */
export class PendingChanges {
  readonly #object: SharedObject;
  readonly #wantsDigests: boolean;
  readonly #added = new Set<number>();
  readonly #changed = new Set<number>();
  readonly #digests = new Set<number>();
  /** Whether a piece is among them that no other receiver may have. */
  #hasFirstCopies = false;
  /** The root or the state, which every message tells. */
  #isMore = false;

  constructor(object: SharedObject, wantsDigests: boolean) {
    this.#object = object;
    this.#wantsDigests = wantsDigests;
  }

  /** Changes of pieces, those of digests not counted: these come in long runs. */
  get size(): number {
    return this.#added.size + this.#changed.size;
  }

  /** Whether followers may be waiting for it: pieces that nobody else can offer, and digests of pieces that came. */
  get isUrgent(): boolean {
    return this.#hasFirstCopies || this.#digests.size > 0;
  }

  /** Pieces that are told as available. */
  get added(): ReadonlySet<number> {
    return this.#added;
  }

  /** Pieces whose digests are told. */
  get digests(): ReadonlySet<number> {
    return this.#digests;
  }

  get isEmpty(): boolean {
    return !this.#isMore && this.#added.size === 0 && this.#changed.size === 0 && this.#digests.size === 0;
  }

  note(change: SharedChange): void {
    switch (change.kind) {
      case 'verified':
        this.#added.add(change.piece);
        this.#hasFirstCopies ||= change.isFirstCopy;
        break;
      case 'changed':
        this.#added.delete(change.piece);
        this.#changed.add(change.piece);
        break;
      case 'digest':
        if (this.#wantsDigests) this.#digests.add(change.piece);
        break;
      case 'root':
      case 'state':
        this.#isMore = true;
        break;
    }
  }

  /** Takes over changes that came after its own. */
  append(later: PendingChanges): void {
    for (const piece of later.#added) this.note({ kind: 'verified', piece, isFirstCopy: false });
    for (const piece of later.#changed) this.note({ kind: 'changed', piece });
    for (const piece of later.#digests) this.note({ kind: 'digest', piece });
    this.#isMore ||= later.#isMore;
  }

  clear(): void {
    for (const pieces of [this.#added, this.#changed, this.#digests]) pieces.clear();
    this.#hasFirstCopies = false;
    this.#isMore = false;
  }

  message(): AvailabilityInit {
    return {
      ...stateMessage(this.#object),
      added: [...this.#added],
      changed: [...this.#changed],
      digests: digestRuns(this.#object, this.#digests),
      ...(this.#object.root === undefined ? {} : { digestRoot: this.#object.root }),
    };
  }
}

/** @returns All there is to tell, but what the next message tells: the first message of a stream. */
export function snapshotMessage(object: SharedObject, wantsDigests: boolean, next: PendingChanges): AvailabilityInit {
  const pieces = object.verified.clone();
  for (const piece of next.added) pieces.delete(piece);
  const digests = wantsDigests ? [...object.digestsKnown].filter((piece) => !next.digests.has(piece)) : [];
  return {
    ...stateMessage(object),
    generation: object.layout.generation,
    bitmap: pieces.encode(),
    changed: [...object.changedPieces],
    digests: digestRuns(object, digests),
    ...(object.root === undefined ? {} : { digestRoot: object.root }),
  };
}

export function stateMessage(object: SharedObject): { state: State; reason: string } {
  switch (object.state.tag) {
    case 'serving':
      return { state: State.SERVING, reason: '' };
    case 'damaged':
      return { state: State.DAMAGED, reason: object.state.reason };
    case 'withdrawn':
      return { state: State.WITHDRAWN, reason: '' };
  }
}

/** Packs digests of consecutive pieces together. */
function digestRuns(object: SharedObject, pieces: Iterable<number>): MessageInitShape<typeof DigestRunSchema>[] {
  const sorted = [...pieces].sort((a, b) => a - b);
  const runs: { firstPiece: number; digests: Uint8Array }[] = [];
  for (let at = 0; at < sorted.length; ) {
    const firstPiece = sorted[at] ?? 0;
    let count = 1;
    while (sorted[at + count] === firstPiece + count) count++;
    const digests = Array.from(
      { length: count },
      (_, index) => object.digestOf(firstPiece + index) ?? new Uint8Array(),
    );
    runs.push({ firstPiece, digests: Buffer.concat(digests) });
    at += count;
  }
  return runs;
}
