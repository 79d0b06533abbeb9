/** Over how long the current rates are taken, in ms. */
const windowMs = 1_000;

type Role = 'gold' | 'replica';

interface Source {
  readonly role: Role;
  /** Verified. */
  bytes: number;
  /** Of requests that have ended, well or badly. */
  receivedBytes: number;
}

/** Bytes that have come from each source by one moment. */
interface Sample {
  readonly atMs: number;
  readonly received: ReadonlyMap<string, number>;
}

export interface MeteredSource {
  readonly segment: string;
  readonly role: Role;
  /** Verified bytes that came from it. */
  readonly bytes: number;
}

/**
 * Counts verified bytes by source, and how fast bytes come from each: what the wire brings counts, not what is verified,
 * because a piece may take longer than the time that the rate is taken over.
 */
export class ProgressMeter {
  readonly #startedMs: number;
  readonly #inFlight: () => Iterable<readonly [segment: string, bytes: number]>;
  readonly #sources = new Map<string, Source>();
  #samples: Sample[];
  #bytes = 0;

  /** @param inFlight - What requests under way have brought so far. */
  constructor(nowMs: number, inFlight: () => Iterable<readonly [segment: string, bytes: number]>) {
    this.#startedMs = nowMs;
    this.#inFlight = inFlight;
    this.#samples = [{ atMs: nowMs, received: new Map() }];
  }

  /** Verified bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A source is asked for the first time, or again. */
  ask(segment: string, role: Role): void {
    if (!this.#sources.has(segment)) this.#sources.set(segment, { role, bytes: 0, receivedBytes: 0 });
  }

  /** A request to a source that was asked has ended, and is not in flight any more. */
  receive(segment: string, bytes: number): void {
    const source = this.#sources.get(segment);
    if (source !== undefined) source.receivedBytes += bytes;
  }

  /** A piece from a source that was asked is verified. @returns The source's role. */
  verify(segment: string, bytes: number): Role | undefined {
    this.#bytes += bytes;
    const source = this.#sources.get(segment);
    if (source !== undefined) source.bytes += bytes;
    return source?.role;
  }

  /** Takes a sample for {@link rates}; call it a few times a second. */
  sample(nowMs: number): void {
    this.#samples.push({ atMs: nowMs, received: this.#received() });
    const firstInside = this.#samples.findIndex(({ atMs }) => atMs >= nowMs - windowMs);
    if (firstInside > 1) this.#samples = this.#samples.slice(firstInside - 1);
  }

  /** Bytes per second from each source that was asked, over about the last second. */
  rates(nowMs: number): Map<string, number> {
    const since = this.#samples.findLast(({ atMs }) => atMs <= nowMs - windowMs) ?? this.#samples[0];
    const elapsedMs = since === undefined ? 0 : nowMs - since.atMs;
    const rates = new Map<string, number>();
    for (const [segment, bytes] of this.#received()) {
      const newBytes = Math.max(0, bytes - (since?.received.get(segment) ?? 0));
      rates.set(segment, elapsedMs > 0 ? (newBytes / elapsedMs) * 1_000 : 0);
    }
    return rates;
  }

  seconds(nowMs: number): number {
    return (nowMs - this.#startedMs) / 1_000;
  }

  /** All that were asked, also those that have brought nothing yet. */
  sources(): MeteredSource[] {
    return Array.from(this.#sources, ([segment, { role, bytes }]) => ({ segment, role, bytes }));
  }

  #received(): Map<string, number> {
    const received = new Map<string, number>();
    for (const [segment, { receivedBytes }] of this.#sources) received.set(segment, receivedBytes);
    for (const [segment, bytes] of this.#inFlight()) received.set(segment, (received.get(segment) ?? 0) + bytes);
    return received;
  }
}
