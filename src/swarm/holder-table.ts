import { meanSpeed } from './holder-choice.ts';
import type { Holder } from './scheduler-holder.ts';

/** The sources of one download, in the order in which they came. Made to be looked through often: no iterator, no repeated sum. */
export class HolderTable {
  readonly #byId = new Map<string, Holder>();
  readonly #list: Holder[] = [];
  #meanSpeed: number | undefined;
  #isMeanKnown = false;

  /** Do not change. */
  get list(): readonly Holder[] {
    return this.#list;
  }

  /** Of those whose speed has been measured, in bytes per ms. */
  get meanSpeed(): number | undefined {
    if (!this.#isMeanKnown) {
      this.#meanSpeed = meanSpeed(this.#list);
      this.#isMeanKnown = true;
    }
    return this.#meanSpeed;
  }

  get(id: string): Holder | undefined {
    return this.#byId.get(id);
  }

  add(holder: Holder): void {
    this.#byId.set(holder.id, holder);
    this.#list.push(holder);
    this.#isMeanKnown = false;
  }

  delete(holder: Holder): void {
    this.#byId.delete(holder.id);
    this.#list.splice(this.#list.indexOf(holder), 1);
    this.#isMeanKnown = false;
  }

  /** The speed of one of them may have changed. */
  onSpeed(): void {
    this.#isMeanKnown = false;
  }
}
