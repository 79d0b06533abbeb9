import { type BackoffOptions, backoffMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import type { Segment } from './segment.ts';
import type { Reach, Transport, TransportName } from './transport/transport.ts';

/** How requests for one segment travel, and why. */
export interface TransportChoice {
  readonly segment: string;
  /** Undefined: no transport leads there. */
  readonly transport: TransportName | undefined;
  /** For people: why this one, and why none of those that would have been preferred. */
  readonly reason: string;
}

interface Candidate {
  readonly transport: Transport;
  /** Undefined until the first probe has ended. */
  reach: Reach | undefined;
  /** Probes that failed and ways that were lost since the last request that was done. */
  failures: number;
  /** When to probe again what cannot be reached. */
  retryAtMs: number;
  /** The probe under way. */
  probing: Promise<void> | undefined;
}

/** Soon enough to be back within seconds; a way that is not there is hardly worth more than a look a minute. */
const RETRY: BackoffOptions = { firstMs: 1000, maxMs: 60_000 };

/** The transports to one segment in their order: which may be used now, and when to look again at the others. */
export class TransportRoute {
  readonly segment: Segment;
  readonly #candidates: readonly Candidate[];
  readonly #clock: Clock;

  /** @param transports - The preferred one first. */
  constructor(segment: Segment, transports: readonly Transport[], clock: Clock) {
    this.segment = segment;
    this.#clock = clock;
    this.#candidates = transports.map((transport) => ({
      transport,
      reach: undefined,
      failures: 0,
      retryAtMs: 0,
      probing: undefined,
    }));
  }

  /**
   * Finds out what to use for the next requests. Probes what has to be known first; looks again, in passing, at preferred
   * transports that could not be used for some time.
   *
   * @param without - Transports that the request has tried already.
   * @returns The transport, undefined when none leads there, or a promise to wait for before asking again.
   */
  choose(without?: ReadonlySet<Transport>): Transport | undefined | Promise<void> {
    for (const candidate of this.#candidates) {
      if (without?.has(candidate.transport) === true) continue;
      if (candidate.reach === undefined) {
        const probing = this.#probe(candidate);
        if (probing !== undefined) return probing;
      } else if (!candidate.reach.ok && this.#clock.nowMs() >= candidate.retryAtMs) {
        void this.#probe(candidate); // its answer is for requests to come, unless it needs nobody for it
      }
      if (candidate.reach?.ok === true) return candidate.transport;
    }
    const left = this.#candidates.filter(({ transport }) => without?.has(transport) !== true);
    return left.find(({ probing }) => probing !== undefined)?.probing;
  }

  /** Whether it is the last resort: nothing is left for a request that fails there. */
  isLast(transport: Transport): boolean {
    return this.#candidates.at(-1)?.transport === transport;
  }

  #probe(candidate: Candidate): Promise<void> | undefined {
    if (candidate.probing !== undefined) return candidate.probing;
    const answer = candidate.transport.canReach(this.segment);
    if (!(answer instanceof Promise)) {
      this.#note(candidate, answer);
      return undefined;
    }
    candidate.probing = answer.then((reach) => {
      candidate.probing = undefined;
      this.#note(candidate, reach);
    });
    return candidate.probing;
  }

  #note(candidate: Candidate, reach: Reach): void {
    candidate.reach = reach;
    if (!reach.ok) this.#holdBack(candidate);
  }

  #holdBack(candidate: Candidate): void {
    candidate.retryAtMs = this.#clock.nowMs() + backoffMs(candidate.failures, RETRY);
    candidate.failures += 1;
  }

  /** A request was done over it. */
  onDone(transport: Transport): void {
    const candidate = this.#find(transport);
    if (candidate?.reach?.ok === true) candidate.failures = 0;
  }

  /** The way was lost; the same loss, told by several requests, counts once. */
  onLost(transport: Transport, reason: string): void {
    const candidate = this.#find(transport);
    if (candidate?.reach?.ok !== true) return;
    candidate.reach = { ok: false, reason };
    this.#holdBack(candidate);
  }

  #find(transport: Transport): Candidate | undefined {
    return this.#candidates.find((candidate) => candidate.transport === transport);
  }

  /** What is known now. */
  explain(): TransportChoice {
    const refusals: string[] = [];
    for (const { transport, reach } of this.#candidates) {
      if (reach?.ok === true) {
        const reason = [reach.reason, ...refusals].join('; ');
        return { segment: this.segment.name, transport: transport.name, reason };
      }
      refusals.push(`${transport.name}: ${reach?.reason ?? 'not probed yet'}`);
    }
    return { segment: this.segment.name, transport: undefined, reason: refusals.join('; ') };
  }
}
