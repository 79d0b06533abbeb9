/** Counts, for each piece, who has it, and knows whether the gold source has just sent it to somebody. */
export class Rarity {
  /** Sources that have the piece. */
  readonly #holders: Uint16Array;
  /** Those of them that are not gold. */
  readonly #replicas: Uint16Array;
  /** When we learned that the gold source sends it to somebody who has not told yet that it is there; 0: not. */
  readonly #sentMs: Float64Array;

  constructor(pieces: number) {
    this.#holders = new Uint16Array(pieces);
    this.#replicas = new Uint16Array(pieces);
    this.#sentMs = new Float64Array(pieces);
  }

  add(piece: number, role: 'gold' | 'replica'): void {
    this.#holders[piece] = this.holders(piece) + 1;
    if (role === 'replica') this.#replicas[piece] = this.replicas(piece) + 1;
    if (role === 'replica') this.#sentMs[piece] = 0;
  }

  remove(piece: number, role: 'gold' | 'replica'): void {
    this.#holders[piece] = this.holders(piece) - 1;
    if (role === 'replica') this.#replicas[piece] = this.replicas(piece) - 1;
  }

  /** @param nowMs - Above 0. */
  noteSent(piece: number, nowMs: number): void {
    this.#sentMs[piece] = nowMs;
  }

  holders(piece: number): number {
    return this.#holders[piece] ?? 0;
  }

  replicas(piece: number): number {
    return this.#replicas[piece] ?? 0;
  }

  isSent(piece: number): boolean {
    return this.#sentMs[piece] !== 0;
  }

  /** Whether it was sent to somebody less than `patienceMs` ago. */
  isOnItsWay(piece: number, nowMs: number, patienceMs: number): boolean {
    return this.isSent(piece) && nowMs - (this.#sentMs[piece] ?? 0) < patienceMs;
  }
}
