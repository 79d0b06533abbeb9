import { ErrorCode, isP2PStoreError } from '../core/errors.ts';
import { Verdict } from './gen/p2pstore/peer/v1/peer_pb.ts';
import type { SharedObject } from './shared-object.ts';

/** Checks that a burst may ask for, and how fast they come back: a doubt costs a digest, so nobody gets many. */
const burst = 8;
const perSecond = 2;

/** Looks at a source's own memory again when a peer says that a piece came out wrong. */
export class Rechecker {
  readonly #object: SharedObject;
  readonly #nowMs: () => number;
  readonly #running = new Map<number, Promise<Verdict>>();
  #allowance: number = burst;
  #countedMs: number;

  constructor(object: SharedObject, nowMs: () => number) {
    this.#object = object;
    this.#nowMs = nowMs;
    this.#countedMs = nowMs();
  }

  check(piece: number): Promise<Verdict> {
    if (this.#object.changedPieces.has(piece)) return Promise.resolve(Verdict.MEMORY_CHANGED);
    const running = this.#running.get(piece);
    if (running !== undefined) return running;
    if (!this.#mayRun()) return Promise.resolve(Verdict.UNSPECIFIED);
    const check = this.#check(piece).finally(() => this.#running.delete(piece));
    this.#running.set(piece, check);
    return check;
  }

  async #check(piece: number): Promise<Verdict> {
    const { digester, layout } = this.#object;
    const expected = this.#object.digestOf(piece);
    if (digester === undefined || expected === undefined || layout.digestAlgorithm === 'none') {
      return Verdict.UNSPECIFIED;
    }
    try {
      const actual = await digester.digest(layout.digestAlgorithm, this.#object.rangesOf(piece));
      if (Buffer.compare(actual, expected) === 0) return Verdict.INTACT;
      this.#object.markChanged(piece);
      return Verdict.MEMORY_CHANGED;
    } catch (error) {
      if (!isP2PStoreError(error, ErrorCode.MemoryFault)) return Verdict.UNSPECIFIED;
      this.#object.markDamaged(error.message);
      return Verdict.MEMORY_FAULT;
    }
  }

  #mayRun(): boolean {
    const nowMs = this.#nowMs();
    this.#allowance = Math.min(burst, this.#allowance + ((nowMs - this.#countedMs) / 1_000) * perSecond);
    this.#countedMs = nowMs;
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }
}
