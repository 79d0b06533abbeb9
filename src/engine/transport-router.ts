/**
 * Chooses the way of each request among the engine's transports, by what their probes say of its segment. When a way is
 * lost, what was on it goes on over the next one, as a whole; the lost way is held back for a while, longer each time, and probed
 * before it is used again. What is wrong with a request itself goes to its caller at once.
 */
import type { Clock } from '../core/clock.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Segment } from './segment.ts';
import { isWayLost, type RequestSink, type Transport, type TransportRequest } from './transport/transport.ts';
import { type TransportChoice, TransportRoute } from './transport-route.ts';

export interface TransportRouterOptions {
  /** The preferred one first; one that always reaches, as TCP, last. */
  readonly transports: readonly Transport[];
  /** Why there are no others, for {@link TransportRouter.explain}. */
  readonly off?: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One request that may change its way. */
interface Journey {
  readonly request: TransportRequest;
  readonly route: TransportRoute;
  /** Where it failed already. */
  readonly tried: Set<Transport>;
  /** Why, in words. */
  readonly faults: string[];
  /** Progress that its caller was told of. */
  toldBytes: number;
  isCanceled: boolean;
  /** Where it is now, as that transport knows it; undefined while a probe is under way. */
  leg: { readonly transport: Transport; readonly request: TransportRequest } | undefined;
}

/** Segments whose probes are remembered; the one that was used longest ago makes room. */
const MAX_ROUTES = 4096;

export class TransportRouter implements RequestSink {
  readonly #transports: readonly Transport[];
  readonly #off: readonly string[];
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #routes = new Map<string, TransportRoute>();
  /** Those that may still change their way. The others are known to their transport only. */
  readonly #journeys = new Map<TransportRequest, Journey>();

  constructor({ transports, off = [], clock, logger }: TransportRouterOptions) {
    this.#transports = transports;
    this.#off = off;
    this.#clock = clock;
    this.#logger = logger;
  }

  submit(requests: readonly TransportRequest[]): void {
    const legs = new Legs();
    let route: TransportRoute | undefined;
    for (const request of requests) {
      // Thousands of requests of a batch go to one segment: it is looked up once.
      if (route === undefined || route.segment !== request.segment) route = this.#routeTo(request.segment);
      const choice = route.choose();
      if (choice !== undefined && !(choice instanceof Promise) && route.isLast(choice)) {
        request.carrier = choice.name;
        legs.add(choice, request);
      } else this.#send(this.#createJourney(request, route), choice, legs);
    }
    legs.submit();
  }

  #routeTo(segment: Segment): TransportRoute {
    const key = `${segment.name} ${segment.instance ?? ''} ${segment.host} ${segment.port}`;
    let route = this.#routes.get(key);
    if (route === undefined) {
      for (const oldest of this.#routes.keys()) {
        if (this.#routes.size < MAX_ROUTES) break;
        this.#routes.delete(oldest);
      }
      route = new TransportRoute(segment, this.#transports, this.#clock);
      this.#routes.set(key, route);
    }
    return route;
  }

  #createJourney(request: TransportRequest, route: TransportRoute): Journey {
    const journey: Journey = {
      request,
      route,
      tried: new Set(),
      faults: [],
      toldBytes: 0,
      isCanceled: false,
      leg: undefined,
    };
    this.#journeys.set(request, journey);
    return journey;
  }

  #send(journey: Journey, choice: ReturnType<TransportRoute['choose']>, legs: Legs): void {
    if (choice === undefined) this.#settle(journey, this.#unreachable(journey));
    else if (choice instanceof Promise) void choice.then(() => this.#resend(journey));
    else {
      journey.request.carrier = choice.name;
      journey.leg = { transport: choice, request: this.#createLeg(journey, choice) };
      legs.add(choice, journey.leg.request);
    }
  }

  /** Asks the route again, after a probe or a loss. */
  #resend(journey: Journey): void {
    if (journey.isCanceled) return; // it was settled then
    const legs = new Legs();
    this.#send(journey, journey.route.choose(journey.tried), legs);
    legs.submit();
  }

  #createLeg(journey: Journey, transport: Transport): TransportRequest {
    let movedBytes = 0;
    return {
      ...journey.request,
      onProgress: (bytes) => {
        movedBytes += bytes;
        if (movedBytes <= journey.toldBytes) return;
        journey.request.onProgress(movedBytes - journey.toldBytes);
        journey.toldBytes = movedBytes;
      },
      onSettled: (error, digest) => this.#onLegSettled(journey, transport, error, digest),
    };
  }

  #onLegSettled(
    journey: Journey,
    transport: Transport,
    error: P2PStoreError | 'canceled' | undefined,
    digest: Uint8Array | undefined,
  ): void {
    const { route, tried, faults } = journey;
    journey.leg = undefined;
    if (error === undefined) route.onDone(transport);
    if (error instanceof P2PStoreError && isWayLost(error)) route.onLost(transport, error.message);
    if (error === undefined || error === 'canceled' || !isWorthAnotherWay(error)) this.#settle(journey, error, digest);
    else if (journey.isCanceled) this.#settle(journey, 'canceled');
    else {
      tried.add(transport);
      const choice = route.choose(tried);
      if (choice !== undefined) faults.push(`${transport.name}: ${error.message}`);
      if (choice === undefined) this.#settle(journey, error);
      else this.#goOn(journey, choice);
    }
  }

  #goOn(journey: Journey, choice: Exclude<ReturnType<TransportRoute['choose']>, undefined>): void {
    const { faults, route } = journey;
    this.#logger.debug({ segment: route.segment.name, fault: faults.at(-1) }, 'request goes on over another transport');
    const legs = new Legs();
    this.#send(journey, choice, legs);
    legs.submit();
  }

  #settle(journey: Journey, error: P2PStoreError | 'canceled' | undefined, digest?: Uint8Array): void {
    this.#journeys.delete(journey.request);
    journey.request.onSettled(error instanceof P2PStoreError ? withFaults(error, journey.faults) : error, digest);
  }

  #unreachable({ route }: Journey): P2PStoreError {
    const { segment, reason } = route.explain();
    const message = `Cannot reach segment ${segment}: no transport leads there (${reason})`;
    return new P2PStoreError(ErrorCode.PeerUnreachable, message, { peer: segment });
  }

  cancel(requests: readonly TransportRequest[]): void {
    const legs = new Legs();
    for (const request of requests) {
      const journey = this.#journeys.get(request);
      if (journey === undefined) for (const transport of this.#transports) legs.add(transport, request);
      else {
        journey.isCanceled = true;
        if (journey.leg === undefined) this.#settle(journey, 'canceled');
        else legs.add(journey.leg.transport, journey.leg.request);
      }
    }
    legs.cancel();
  }

  /** Probes the ways to a segment as a request would, and tells what was found. */
  async explain(segment: Segment): Promise<TransportChoice> {
    const route = this.#routeTo(segment);
    await this.#probed(route);
    return this.#tell(route);
  }

  /** Does for a segment what its first request would have to wait for. */
  async prepare(segment: Segment): Promise<void> {
    const transport = await this.#probed(this.#routeTo(segment));
    transport?.prepare?.(segment);
  }

  async #probed(route: TransportRoute): Promise<Transport | undefined> {
    for (;;) {
      const choice = route.choose();
      if (!(choice instanceof Promise)) return choice;
      await choice;
    }
  }

  #tell(route: TransportRoute): TransportChoice {
    const { reason, ...choice } = route.explain();
    return { ...choice, reason: [reason, ...this.#off].join('; ') };
  }

  /** What is known of every segment that was used, the last one first. */
  choices(): TransportChoice[] {
    return [...this.#routes.values()].map((route) => this.#tell(route)).toReversed();
  }

  /** Cancels what may still change its way; the transports are their owner's to close. */
  close(): void {
    this.cancel([...this.#journeys.keys()]);
  }
}

/** Requests that go to the same transport together. */
class Legs {
  readonly #byTransport = new Map<Transport, TransportRequest[]>();

  add(transport: Transport, request: TransportRequest): void {
    const list = this.#byTransport.get(transport);
    if (list === undefined) this.#byTransport.set(transport, [request]);
    else list.push(request);
  }

  submit(): void {
    for (const [transport, requests] of this.#byTransport) transport.submit(requests);
  }

  cancel(): void {
    for (const [transport, requests] of this.#byTransport) transport.cancel(requests);
  }
}

/**
 * Besides a lost way: who moves bytes without the peer's help cannot know whose memory is gone, nor all that the peer has
 * registered. A peer that takes part has the last word.
 */
function isWorthAnotherWay(error: P2PStoreError): boolean {
  const { MemoryFault, TransferRejected } = ErrorCode;
  return isWayLost(error) || error.code === MemoryFault || error.code === TransferRejected;
}

/** The last error, which also says how it went on the ways before. */
function withFaults(error: P2PStoreError, faults: readonly string[]): P2PStoreError {
  if (faults.length === 0) return error;
  const message = `${error.message}; before that over ${faults.join('; over ')}`;
  return new P2PStoreError(error.code, message, error.context, { cause: error });
}
