import { abortable } from '../core/abort.ts';
import { type BackoffOptions, backoffMs } from '../core/backoff.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../observability/logger.ts';
import type { CallOptions, MetadataStore } from './metadata-store.ts';

export interface LeaseKeeperOptions {
  /** How long the lease outlives its owner, in ms. Default 10,000: short enough to forget the dead, long enough for a pause. */
  readonly ttlMs?: number;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/** Puts back what hung on the lost lease. Called again, after a delay, when it throws; so it must be repeatable. */
export type RegainedListener = (leaseId: string) => Promise<void>;

/** The metadata store is away: soon at first, then at a pace that many stores together do not overload. */
const RETRY: BackoffOptions = { firstMs: 200, maxMs: 3000 };
/** `close()` waits so long for the revocation; a lease that could not be revoked runs out by itself. */
const CLOSE_MS = 2000;

/**
 * Keeps one lease alive for as long as its owner lives.
 *
 * The lease is renewed every third of its time. While the metadata store is away the keeper goes on trying. When the
 * lease turns out to have ended (the process was paused, or the store away, for longer than the lease) the keeper
 * grants a new one and calls the listeners, which list their records anew.
 */
export class LeaseKeeper implements AsyncDisposable {
  readonly #store: MetadataStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #requestedTtlMs: number;
  readonly #listeners = new Set<RegainedListener>();
  readonly #renewalWaiters = new Set<() => void>();
  readonly #closing = new AbortController();
  readonly #loop: Promise<void>;
  #regain: Promise<void> = Promise.resolve();
  #isRegaining = false;
  #leaseId: string;
  #wake: () => void = () => {};
  #closed: Promise<void> | undefined;

  private constructor(store: MetadataStore, leaseId: string, options: Required<LeaseKeeperOptions>) {
    this.#store = store;
    this.#leaseId = leaseId;
    this.#requestedTtlMs = options.ttlMs;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#loop = this.#keepAlive();
  }

  /** @throws P2P_METADATA_UNAVAILABLE No lease could be granted. */
  static async open(store: MetadataStore, options: LeaseKeeperOptions = {}): Promise<LeaseKeeper> {
    const resolved = { ttlMs: 10_000, logger: silentLogger, clock: systemClock, ...options };
    return new LeaseKeeper(store, await store.grantLease(resolved.ttlMs), resolved);
  }

  /** The current lease. It may have ended without anybody knowing yet: see {@link withLease}. */
  get leaseId(): string {
    return this.#leaseId;
  }

  /**
   * Registers what to do when a new lease replaced a lost one. Listeners run one after the other, in the order of
   * registration, and never twice at a time. One that throws is called again until it succeeds.
   *
   * @returns Removes the listener.
   */
  onRegained(listener: RegainedListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /**
   * Runs a write that names the lease. If the write fails with P2P_LEASE_LOST, waits for the new lease
   * and runs it once more. May be used within a listener.
   *
   * @throws P2P_LEASE_LOST The lease was lost twice.
   * @throws P2P_CLOSED The keeper was closed.
   */
  async withLease<T>(work: (leaseId: string) => Promise<T>, options: CallOptions = {}): Promise<T> {
    if (this.#closing.signal.aborted) throw this.#closedError();
    const leaseId = this.#leaseId;
    try {
      return await work(leaseId);
    } catch (error) {
      if (!isP2PStoreError(error, ErrorCode.LeaseLost)) throw error;
      if (this.#leaseId === leaseId) await this.#renewed(options.signal);
      if (this.#leaseId === leaseId) throw error;
      return work(this.#leaseId);
    }
  }

  /** Ends the lease, so that its keys vanish at once. Takes at most about 2 s when the store is away. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort(this.#closedError());
    this.#wake();
    const signal = AbortSignal.timeout(CLOSE_MS);
    try {
      await abortable(this.#loop, signal);
      await this.#store.revokeLease(this.#leaseId, { signal });
      await abortable(this.#regain, signal); // a listener in the middle of a write finds the lease gone
    } catch (error) {
      this.#logger.warn({ leaseId: this.#leaseId, error }, 'lease not revoked');
    }
  }

  async #keepAlive(): Promise<void> {
    const { signal } = this.#closing;
    let delayMs = this.#requestedTtlMs / 3;
    let failures = 0;
    while (!signal.aborted) {
      await this.#pause(delayMs);
      if (signal.aborted) return;
      try {
        const remainingMs = await this.#renew();
        delayMs = remainingMs / 3;
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ leaseId: this.#leaseId, failures, error }, 'lease not renewed');
        // Several tries fit in what is left of the lease, so that a store that comes back finds it renewed in time.
        delayMs = Math.min(backoffMs(failures, RETRY), this.#requestedTtlMs / 10);
        failures += 1;
      }
    }
  }

  /** Renews the lease, or replaces it when it has ended. Returns the ms until it ends. */
  async #renew(): Promise<number> {
    const { signal } = this.#closing;
    let remainingMs = await this.#store.keepLeaseAlive(this.#leaseId, { signal });
    if (remainingMs <= 0) {
      const lostLeaseId = this.#leaseId;
      this.#leaseId = await this.#store.grantLease(this.#requestedTtlMs, { signal });
      remainingMs = this.#requestedTtlMs;
      this.#logger.warn({ lostLeaseId, leaseId: this.#leaseId }, 'lease lost and regained');
      if (!this.#isRegaining) this.#regain = this.#notifyListeners();
    }
    for (const waiter of this.#renewalWaiters) waiter();
    this.#renewalWaiters.clear();
    return remainingMs;
  }

  /** Runs all listeners for the current lease; anew when that lease is lost meanwhile. */
  async #notifyListeners(): Promise<void> {
    this.#isRegaining = true;
    try {
      let notifiedLeaseId: string | undefined;
      while (notifiedLeaseId !== this.#leaseId && !this.#closing.signal.aborted) {
        notifiedLeaseId = this.#leaseId;
        for (const listener of [...this.#listeners]) await this.#notify(listener, notifiedLeaseId);
      }
    } finally {
      this.#isRegaining = false;
    }
  }

  async #notify(listener: RegainedListener, leaseId: string): Promise<void> {
    const isCurrent = (): boolean =>
      !this.#closing.signal.aborted && this.#leaseId === leaseId && this.#listeners.has(listener);
    for (let failures = 0; isCurrent(); failures += 1) {
      try {
        await listener(leaseId);
        return;
      } catch (error) {
        this.#logger.warn({ leaseId, failures, error }, 'records not listed anew');
        if (isCurrent()) await this.#sleep(backoffMs(failures, RETRY));
      }
    }
  }

  /** Resolves after the next renewal that the store answered, which it brings forward. */
  #renewed(signal: AbortSignal | undefined): Promise<void> {
    let waiter: () => void = () => {};
    const renewal = new Promise<void>((resolve) => {
      waiter = resolve;
      this.#renewalWaiters.add(resolve);
    });
    this.#wake();
    const signals = signal === undefined ? [this.#closing.signal] : [this.#closing.signal, signal];
    return abortable(renewal, AbortSignal.any(signals)).finally(() => this.#renewalWaiters.delete(waiter));
  }

  /** Waits until the next renewal is due or wanted. */
  #pause(delayMs: number): Promise<void> {
    if (this.#closing.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(
        this.#renewalWaiters.size > 0 ? Math.min(delayMs, RETRY.firstMs) : delayMs,
        resolve,
      );
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#closing.signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.#clock.after(delayMs, done);
      this.#closing.signal.addEventListener('abort', done, { once: true });
    });
  }

  #closedError(): P2PStoreError<'P2P_CLOSED'> {
    return new P2PStoreError(ErrorCode.Closed, 'Cannot use the lease keeper: it is closed', {
      resource: 'lease keeper',
    });
  }
}
