/** Longer than a small request takes on a fast network, shorter than anybody would notice. */
const SPIN_MAX_US = 40;
const SPIN_FIRST_US = 5;
/** With spinning given up, one look in so many tells whether it is worth it again. */
const LOOK_EVERY = 64;

/**
 * How long to look for what is due before waiting for an event, which costs a way through the kernel and the event loop.
 * Grows while looking finds something and falls to nothing while it does not.
 */
export class AdaptiveSpin {
  #us = SPIN_FIRST_US;
  #sinceLook = 0;

  /** For this time, in microseconds; 0: not at all. */
  nextUs(): number {
    if (this.#us > 0) return this.#us;
    this.#sinceLook += 1;
    if (this.#sinceLook < LOOK_EVERY) return 0;
    this.#sinceLook = 0;
    return SPIN_FIRST_US;
  }

  onResult(hasFound: boolean): void {
    if (hasFound) this.#us = Math.min(SPIN_MAX_US, Math.max(SPIN_FIRST_US, this.#us * 2));
    else this.#us = this.#us <= 1 ? 0 : this.#us / 2;
  }
}
