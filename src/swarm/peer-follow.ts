/** Turns the changes of a shared object into the messages of one `Follow` stream. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AvailabilitySchema, DigestRunSchema } from './gen/p2pstore/peer/v1/peer_pb.ts';
import { State } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { SharedChange, SharedObject } from './shared-object.ts';

type AvailabilityInit = MessageInitShape<typeof AvailabilitySchema>;

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

/** Changes that a slow follower has not taken yet: sets of pieces, so they never outgrow the object. */
class PendingChanges {
  readonly #object: SharedObject;
  readonly #wantsDigests: boolean;
  readonly #added = new Set<number>();
  readonly #changed = new Set<number>();
  readonly #claimed = new Set<number>();
  readonly #unclaimed = new Set<number>();
  readonly #digests = new Set<number>();
  #isDirty = false;
  #wake: (() => void) | undefined;

  constructor(object: SharedObject, wantsDigests: boolean) {
    this.#object = object;
    this.#wantsDigests = wantsDigests;
  }

  note(change: SharedChange): void {
    switch (change.kind) {
      case 'verified':
        this.#added.add(change.piece);
        this.#claimed.delete(change.piece);
        break;
      case 'changed':
        this.#added.delete(change.piece);
        this.#changed.add(change.piece);
        break;
      case 'claimed':
        if (!this.#unclaimed.delete(change.piece)) this.#claimed.add(change.piece);
        break;
      case 'unclaimed':
        if (!this.#claimed.delete(change.piece)) this.#unclaimed.add(change.piece);
        break;
      case 'digest':
        if (!this.#wantsDigests) return;
        this.#digests.add(change.piece);
        break;
      case 'root':
      case 'state':
        break; // every message tells them
    }
    this.wake();
  }

  wake(): void {
    this.#isDirty = true;
    this.#wake?.();
  }

  /** Waits for a change, then a little longer for more of them. */
  async wait(coalesceMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isDirty && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, coalesceMs));
  }

  take(): AvailabilityInit {
    const message: AvailabilityInit = {
      ...stateMessage(this.#object),
      added: [...this.#added],
      changed: [...this.#changed],
      claimed: [...this.#claimed],
      unclaimed: [...this.#unclaimed],
      digests: digestRuns(this.#object, this.#digests),
      ...(this.#object.root === undefined ? {} : { digestRoot: this.#object.root }),
    };
    for (const pending of [this.#added, this.#changed, this.#claimed, this.#unclaimed, this.#digests]) pending.clear();
    this.#isDirty = false;
    return message;
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

export interface FollowOptions {
  readonly wantsDigests: boolean;
  /** How long to collect changes into one message, in ms. Asked before each. */
  readonly coalesceMs: () => number;
  /** Ends the stream. */
  readonly signal: AbortSignal;
}

/** Yields everything once, then changes, until the object is not served any more or the signal fires. */
export async function* followObject(object: SharedObject, options: FollowOptions): AsyncGenerator<AvailabilityInit> {
  const { wantsDigests, coalesceMs, signal } = options;
  const pending = new PendingChanges(object, wantsDigests);
  const unsubscribe = object.subscribe((change) => pending.note(change));
  const onAbort = (): void => pending.wake();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    yield {
      ...stateMessage(object),
      bitmap: object.verified.encode(),
      changed: [...object.changedPieces],
      claimed: [...object.claims],
      digests: wantsDigests ? digestRuns(object, object.digestsKnown) : [],
      ...(object.root === undefined ? {} : { digestRoot: object.root }),
    };
    while (object.state.tag === 'serving' && !signal.aborted) {
      await pending.wait(coalesceMs(), signal);
      if (!signal.aborted) yield pending.take();
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}
