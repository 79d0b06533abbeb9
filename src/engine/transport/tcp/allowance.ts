import { type Pacer, PaceTicket } from './pacer.ts';

/** Payload that a rate limit lets one connection move: taken chunk by chunk, used up as the socket takes or brings it. */
export class Allowance {
  readonly #pacer: Pacer;
  readonly #ticket: PaceTicket;
  #leftBytes = 0;

  private constructor(pacer: Pacer, wake: () => void) {
    this.#pacer = pacer;
    this.#ticket = new PaceTicket(0, wake);
  }

  /** Without a pacer there is no limit, and nothing to ask. */
  static of(pacer: Pacer | undefined, wake: () => void): Allowance | undefined {
    return pacer === undefined ? undefined : new Allowance(pacer, wake);
  }

  get isParked(): boolean {
    return this.#ticket.isParked;
  }

  /** @returns How many of `wanted` bytes may move now. 0: none, and the connection is woken when to ask again. */
  take(flow: number, wanted: number): number {
    if (this.#leftBytes === 0) {
      if (this.#ticket.flow !== flow) {
        this.#pacer.leave(this.#ticket);
        this.#ticket.flow = flow;
      }
      const bytes = Math.min(wanted, this.#pacer.chunkBytes);
      if (!this.#pacer.take(this.#ticket, bytes)) return 0;
      this.#leftBytes = bytes;
    }
    return Math.min(wanted, this.#leftBytes);
  }

  use(bytes: number): void {
    this.#leftBytes -= bytes;
  }

  close(): void {
    this.#pacer.leave(this.#ticket);
  }
}
