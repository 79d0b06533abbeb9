/** Weight of the newest measurement: at one every 100 ms, half a second counts for two thirds. */
const NEW_SHARE = 0.2;
/** Measurements until the mean is trusted; before, each counts as much as those so far. */
const FIRST_SAMPLES = 5;
/** Before anything was measured: slow enough for small windows, fast enough to try. */
const GUESS_BYTES_PER_SECOND = 16 * 1024 * 1024;
/** While it rests, what it is thought to carry goes back to what it once did: a path that nobody uses is never measured. */
const HOPE_SHARE = 0.05;
/** And what it once did is forgotten, while it is used, in about 20 s. */
const PEAK_KEPT = 0.995;
/** So that nothing is ever divided by 0. */
const LEAST_BYTES_PER_SECOND = 1024;

/** How fast a path carries bytes while it has some to carry. Pure: whoever drives it says what came, and when. */
export class SpeedMeter {
  #bytes = 0;
  #samples = 0;
  #mean = GUESS_BYTES_PER_SECOND;
  /** The guess until something came: a path that was silent from the start gets its chance after a rest, too. */
  #peak = GUESS_BYTES_PER_SECOND;
  #hasBytes = false;
  #sinceMs: number | undefined;

  /** The mean of late; a guess until something was measured. At least 1,024. */
  get bytesPerSecond(): number {
    return this.#mean;
  }

  /** Whether anything has come yet. */
  get isMeasured(): boolean {
    return this.#hasBytes;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  /**
   * Ends one measurement and begins the next, about ten times a second.
   *
   * @param isBusy - Whether bytes are due: a rest says nothing about speed.
   */
  tick(nowMs: number, isBusy: boolean): void {
    const elapsedMs = nowMs - (this.#sinceMs ?? nowMs);
    if (elapsedMs > 0) this.#sample((this.#bytes / elapsedMs) * 1000, isBusy);
    else if (this.#peak > this.#mean) this.#mean += (this.#peak - this.#mean) * HOPE_SHARE;
    this.#bytes = 0;
    this.#sinceMs = isBusy ? nowMs : undefined;
  }

  /** The path was lost and is back: what was measured while it died says nothing. */
  recover(): void {
    this.#mean = Math.max(this.#mean, this.#peak);
    this.#sinceMs = undefined;
  }

  #sample(bytesPerSecond: number, isBusy: boolean): void {
    // The end of a transfer falls into this measurement: it can only show the path slower than it is.
    if (!isBusy && bytesPerSecond < this.#mean) return;
    if (bytesPerSecond > 0 && !this.#hasBytes) {
      this.#hasBytes = true;
      this.#samples = 0;
      this.#peak = 0;
    }
    this.#samples += 1;
    const share = Math.max(NEW_SHARE, 1 / Math.min(this.#samples, FIRST_SAMPLES));
    this.#mean = Math.max(LEAST_BYTES_PER_SECOND, this.#mean + (bytesPerSecond - this.#mean) * share);
    if (this.#hasBytes) this.#peak = Math.max(this.#mean, this.#peak * PEAK_KEPT);
  }
}
