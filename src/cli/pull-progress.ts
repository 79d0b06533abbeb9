/** Adds up the progress of several pulls that run at once. */
import type { Output } from './output.ts';

/** Rates are taken over this much time, so that they follow changes and do not jump. */
const RATE_WINDOW_MS = 2_000;

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

export class PullProgress {
  readonly #output: Output;
  readonly #name: string;
  readonly #totalBytes: number;
  readonly #startedMs: number = performance.now();
  readonly #doneBytes = new Map<string, number>();
  readonly #sources = new Map<string, number>();
  #samples: Sample[] = [];
  #bytes = 0;

  /** @param name - What was asked for: an object, or a prefix. */
  constructor(output: Output, name: string, totalBytes: number) {
    this.#output = output;
    this.#name = name;
    this.#totalBytes = totalBytes;
  }

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }

  /** Notes how far one object has come, and shows the sum. */
  update(object: string, doneBytes: number, sources: number, origin?: 'mooncake'): void {
    if (doneBytes === 0) return; // that nothing is there yet is no news
    this.#bytes += doneBytes - (this.#doneBytes.get(object) ?? 0);
    this.#doneBytes.set(object, doneBytes);
    this.#sources.set(object, sources);
    this.#output.progress({
      name: this.#name,
      bytes: this.#bytes,
      totalBytes: this.#totalBytes,
      seconds: this.seconds,
      bytesPerSecond: this.#bytesPerSecond(),
      sources: Math.max(0, ...this.#sources.values()),
      ...(origin && { origin }),
    });
  }

  /** Takes an object that is whole out of the count of sources; its bytes stay. */
  finish(object: string): void {
    this.#sources.delete(object);
  }

  #bytesPerSecond(): number {
    const nowMs = performance.now();
    const first = this.#samples.findLast(({ atMs }) => nowMs - atMs >= RATE_WINDOW_MS) ?? this.#samples[0];
    if (nowMs - (this.#samples.at(-1)?.atMs ?? 0) >= RATE_WINDOW_MS / 10) {
      this.#samples.push({ atMs: nowMs, bytes: this.#bytes });
      this.#samples = this.#samples.filter(({ atMs }) => nowMs - atMs < RATE_WINDOW_MS * 2);
    }
    const since = first ?? { atMs: this.#startedMs, bytes: 0 };
    const elapsedMs = nowMs - since.atMs;
    return elapsedMs <= 0 ? 0 : ((this.#bytes - since.bytes) / elapsedMs) * 1000;
  }
}
