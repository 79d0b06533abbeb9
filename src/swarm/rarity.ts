/** Counts, for each piece, who has it and who is fetching it. */
export class Rarity {
  /** Sources that have the piece. */
  readonly #holders: Uint16Array;
  /** Those of them that are not gold. */
  readonly #replicas: Uint16Array;
  readonly #claims: Uint16Array;
  readonly #lastClaimMs: Float64Array;

  constructor(pieces: number) {
    this.#holders = new Uint16Array(pieces);
    this.#replicas = new Uint16Array(pieces);
    this.#claims = new Uint16Array(pieces);
    this.#lastClaimMs = new Float64Array(pieces);
  }

  add(piece: number, role: 'gold' | 'replica'): void {
    this.#holders[piece] = this.holders(piece) + 1;
    if (role === 'replica') this.#replicas[piece] = this.replicas(piece) + 1;
  }

  remove(piece: number, role: 'gold' | 'replica'): void {
    this.#holders[piece] = this.holders(piece) - 1;
    if (role === 'replica') this.#replicas[piece] = this.replicas(piece) - 1;
  }

  claim(piece: number, nowMs: number): void {
    this.#claims[piece] = this.claims(piece) + 1;
    this.#lastClaimMs[piece] = nowMs;
  }

  unclaim(piece: number): void {
    this.#claims[piece] = this.claims(piece) - 1;
  }

  holders(piece: number): number {
    return this.#holders[piece] ?? 0;
  }

  replicas(piece: number): number {
    return this.#replicas[piece] ?? 0;
  }

  claims(piece: number): number {
    return this.#claims[piece] ?? 0;
  }

  /** Whether another receiver began to fetch it less than `patienceMs` ago. */
  isClaimed(piece: number, nowMs: number, patienceMs: number): boolean {
    return this.claims(piece) > 0 && nowMs - (this.#lastClaimMs[piece] ?? 0) < patienceMs;
  }
}
