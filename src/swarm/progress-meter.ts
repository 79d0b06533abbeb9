/** Over how long the current rate is taken, in ms. */
const windowMs = 1_000;

/** Counts verified bytes by source, and how fast they come. */
export class ProgressMeter {
  readonly #startedMs: number;
  readonly #bySource = new Map<string, { readonly role: 'gold' | 'replica'; bytes: number }>();
  #samples: { readonly atMs: number; readonly bytes: number }[];
  #bytes = 0;

  constructor(nowMs: number) {
    this.#startedMs = nowMs;
    this.#samples = [{ atMs: nowMs, bytes: 0 }];
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(segment: string, role: 'gold' | 'replica', bytes: number): void {
    this.#bytes += bytes;
    const source = this.#bySource.get(segment);
    if (source === undefined) this.#bySource.set(segment, { role, bytes });
    else source.bytes += bytes;
  }

  /** Takes a sample for {@link bytesPerSecond}; call it a few times a second. */
  sample(nowMs: number): void {
    this.#samples.push({ atMs: nowMs, bytes: this.#bytes });
    const firstInside = this.#samples.findIndex(({ atMs }) => atMs >= nowMs - windowMs);
    if (firstInside > 1) this.#samples = this.#samples.slice(firstInside - 1);
  }

  /** Over about the last second. */
  bytesPerSecond(nowMs: number): number {
    const [first] = this.#samples;
    if (first === undefined || nowMs <= first.atMs) return 0;
    return ((this.#bytes - first.bytes) / (nowMs - first.atMs)) * 1_000;
  }

  seconds(nowMs: number): number {
    return (nowMs - this.#startedMs) / 1_000;
  }

  sources(): { segment: string; role: 'gold' | 'replica'; bytes: number }[] {
    return Array.from(this.#bySource, ([segment, { role, bytes }]) => ({ segment, role, bytes }));
  }
}
