import type { Random } from './random.ts';

/**
 * The sources that a store follows when there are more than it wants to follow: while there is room everybody is taken;
 * afterwards the n-th that is met takes the place of a random one with probability `max / n`. So each of those met is
 * followed with the same probability, early or late (reservoir sampling, Vitter 1985). Taking the first ones instead
 * would make everybody follow those who came first, and only their uplinks would serve.
 *
 * Gold sources are followed always and do not belong here.
 */
export class NeighbourSample<Member> {
  readonly #members: Member[] = [];
  readonly #random: Random;
  #max: number;
  #met = 0;

  constructor(max: number, random: Random) {
    this.#max = max;
    this.#random = random;
  }

  /** Do not change. */
  get members(): readonly Member[] {
    return this.#members;
  }

  get hasRoom(): boolean {
    return this.#members.length < this.#max;
  }

  /** @param max - At least as many as before. */
  widen(max: number): void {
    this.#max = Math.max(this.#max, max);
  }

  /** Hears of somebody for the first time. @returns Whether it is taken, and who has to leave for it. */
  meet(newcomer: Member): { readonly isTaken: boolean; readonly displaced: Member | undefined } {
    this.#met++;
    if (!this.hasRoom && this.#random() * this.#met >= this.#max) return { isTaken: false, displaced: undefined };
    return { isTaken: true, displaced: this.take(newcomer) };
  }

  /** Takes it in any case. @returns Who has to leave for it. */
  take(newcomer: Member): Member | undefined {
    if (this.hasRoom) {
      this.#members.push(newcomer);
      return undefined;
    }
    const at = Math.floor(this.#random() * this.#members.length);
    const displaced = this.#members[at];
    this.#members[at] = newcomer;
    return displaced;
  }

  /** It is gone; its place is free. */
  remove(member: Member): void {
    const at = this.#members.indexOf(member);
    if (at !== -1) this.#members.splice(at, 1);
  }
}
