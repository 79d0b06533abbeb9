/** What is known of a peer's registrations and their keys. */
import { type RegisteredRange, RegisteredRanges } from '../../registered-ranges.ts';
import { RANGES_ASKED_MAX, type RemoteRange } from './handshake.ts';

/** Asks the peer; one answer for each address, null where nothing is registered. */
export type AskRanges = (addresses: readonly number[]) => Promise<readonly (RemoteRange | null)[]>;

/** Ranges kept; then all are forgotten, and asked for again. */
const KNOWN_MAX = 16_384;

export class RemoteMemory {
  readonly #ask: AskRanges;
  readonly #ranges = new RegisteredRanges();
  readonly #known = new Map<number, RemoteRange>();
  #waiting: { readonly addresses: Set<number>; readonly answered: Promise<void> } | undefined;

  constructor(ask: AskRanges) {
    this.#ask = ask;
  }

  /** The registration that holds all of `[address, address + lengthBytes)`, as far as is known. */
  find(address: number, lengthBytes: number): RemoteRange | undefined {
    const range = this.#ranges.containing(address, lengthBytes);
    return range && this.#known.get(range.address);
  }

  /** Whether something is known of the byte at an address. */
  knows(address: number): boolean {
    return this.#ranges.containing(address, 1) !== undefined;
  }

  /** Takes what the peer told unasked. */
  add(range: RemoteRange): void {
    if (this.#known.size >= KNOWN_MAX) this.clear();
    for (;;) {
      const stale = this.#ranges.overlapping(range.address, range.lengthBytes);
      if (stale === undefined) break;
      this.#forget(stale);
    }
    this.#ranges.add(range);
    this.#known.set(range.address, range);
  }

  #forget({ address }: RegisteredRange): void {
    this.#ranges.remove(address);
    this.#known.delete(address);
  }

  /** What is known of an address proved wrong. */
  forget(address: number): void {
    const range = this.#ranges.containing(address, 1);
    if (range !== undefined) this.#forget(range);
  }

  clear(): void {
    for (const address of [...this.#known.keys()]) this.#ranges.remove(address);
    this.#known.clear();
  }

  /**
   * Learns about an address. Questions of one turn of the event loop are asked together.
   *
   * @throws P2P_PEER_UNREACHABLE, P2P_RECORD_INVALID
   */
  learn(address: number): Promise<void> {
    if (this.#waiting === undefined || this.#waiting.addresses.size >= RANGES_ASKED_MAX) {
      const addresses = new Set<number>();
      const answered = Promise.resolve().then(() => {
        if (this.#waiting?.addresses === addresses) this.#waiting = undefined;
        return this.#askFor([...addresses]);
      });
      this.#waiting = { addresses, answered };
    }
    this.#waiting.addresses.add(address);
    return this.#waiting.answered;
  }

  async #askFor(addresses: readonly number[]): Promise<void> {
    const answers = await this.#ask(addresses);
    for (const [index, range] of answers.entries()) {
      const address = addresses[index];
      if (range === null && address !== undefined) this.forget(address);
      else if (range !== null) this.add(range);
    }
  }
}
