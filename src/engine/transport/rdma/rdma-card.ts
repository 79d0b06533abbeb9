/**
 * One open card: hands requests to its queue pairs and tells each what became of it. All of it runs on the event loop of
 * one thread; the card itself moves the bytes.
 */
import { type OneSidedRequest, SendChain } from '../../../native/verbs-chain.ts';
import { type PortStatus, VerbsDevice } from '../../../native/verbs-device.ts';
import { QueuePair } from '../../../native/verbs-pair.ts';
import { CompletionQueue } from '../../../native/verbs-queue.ts';
import { AdaptiveSpin } from '../adaptive-spin.ts';
import { WC_FLUSHED } from './completion-status.ts';
import { gidBytes } from './gid-choice.ts';
import type { RdmaDeviceInfo } from './rdma-devices.ts';

/** One request of up to the port's largest message. */
export interface CardWork extends Omit<OneSidedRequest, 'id'> {
  /** Called once, when the card has let go of the local memory. */
  onCompleted(status: number): void;
}

/** A queue pair with what is posted on it. */
export interface CardPair {
  readonly pair: QueuePair;
  inflight: number;
}

interface Posted {
  readonly work: CardWork;
  readonly owner: CardPair;
}

/** Of one queue pair. */
export const PAIR_REQUESTS_MAX = 128;
/** Of all queue pairs of a card: each may complete before any is polled. */
const CARD_REQUESTS_MAX = 8192;
const CHAIN_LENGTH = 64;
/** A card that says nothing for so long after its queue pair was failed is not waited for. */
const FLUSH_WAIT_MS = 2000;
/** Goes on for so long in one turn of the event loop, while each look finds something. */
const WATCH_MS = 0.5;

export class RdmaCard {
  readonly name: string;
  readonly info: RdmaDeviceInfo;
  readonly port: PortStatus;
  readonly gid: string;
  readonly device: VerbsDevice;
  readonly #queue: CompletionQueue;
  readonly #chain: SendChain = new SendChain(CHAIN_LENGTH);
  readonly #spin = new AdaptiveSpin();
  readonly #posted = new Map<number, Posted>();
  /** Called when completions have been dealt with, so that more is posted at once for all of them. */
  readonly #onDrained: () => void;
  readonly #requestsMax: number;
  #nextId = 1;
  #isWatching = false;
  #isClosed = false;

  /**
   * @throws P2P_SYSTEM_CALL_FAILED The device cannot be opened.
   */
  constructor(info: RdmaDeviceInfo, onDrained: () => void) {
    this.name = info.name;
    this.info = info;
    this.gid = info.gid?.gid ?? '';
    this.#onDrained = onDrained;
    this.device = new VerbsDevice(info.name);
    this.#requestsMax = Math.min(PAIR_REQUESTS_MAX, this.device.limits.maxRequests);
    try {
      this.port = this.device.queryPort(info.port);
      this.#queue = new CompletionQueue(this.device, CARD_REQUESTS_MAX, () => this.#onEvent());
    } catch (error) {
      this.#chain.free();
      this.device.close();
      throw error;
    }
  }

  /** Whether the port is up now. */
  get isUp(): boolean {
    try {
      return this.device.queryPort(this.info.port).isActive;
    } catch {
      return false;
    }
  }

  /** Requests that may still be posted on a queue pair. */
  roomOn({ inflight }: CardPair): number {
    return Math.min(this.#requestsMax - inflight, CARD_REQUESTS_MAX - this.#posted.size);
  }

  /** @throws P2P_SYSTEM_CALL_FAILED The card has no more of them. */
  createPair(): CardPair {
    return { pair: new QueuePair(this.device, this.#queue.handle, this.#requestsMax), inflight: 0 };
  }

  /**
   * Makes a queue pair ready to send to the one with that number behind that GID.
   *
   * @throws P2P_SYSTEM_CALL_FAILED No way leads there.
   */
  connectPair(
    { pair }: CardPair,
    remote: { readonly queuePair: number; readonly gid: string; readonly lid: number },
  ): void {
    const { limits } = this.device;
    pair.connect({
      port: this.info.port,
      localGidIndex: this.info.gid?.index ?? 0,
      remoteQueuePair: remote.queuePair,
      remoteGid: gidBytes(remote.gid) ?? new Uint8Array(16),
      remoteLid: remote.lid,
      mtu: this.port.mtu,
      trafficClass: 0,
      maxReads: Math.min(16, limits.maxReadsIn, limits.maxReadsOut),
      timeout: 14,
    });
  }

  /** Posts requests in one chain; what the card does not take completes as flushed. The caller has looked for room. */
  post(owner: CardPair, works: readonly CardWork[]): void {
    for (let from = 0; from < works.length; from += CHAIN_LENGTH) {
      this.#postChain(owner, works.slice(from, from + CHAIN_LENGTH));
    }
  }

  #postChain(owner: CardPair, works: readonly CardWork[]): void {
    const firstId = this.#nextId;
    for (const work of works) {
      const id = this.#nextId++;
      this.#posted.set(id, { work, owner });
      this.#chain.add({ ...work, id });
    }
    owner.inflight += works.length;
    const { posted } = this.#chain.post(this.device.functions, owner.pair.handle);
    for (let index = posted; index < works.length; index++) this.#complete(firstId + index, WC_FLUSHED);
  }

  /**
   * Deals with what completes within a few microseconds, and asks for an event at the next completion. To be called when
   * requests have been posted.
   */
  watch(): void {
    if (this.#isWatching) return; // it goes on below
    this.#isWatching = true;
    try {
      const endMs = performance.now() + WATCH_MS;
      do {
        if (this.#posted.size === 0 || this.#isClosed) return;
        if (!this.#spinFor(this.#spin.nextUs()) && !this.#armed()) return;
        this.#onDrained();
      } while (performance.now() < endMs);
      setImmediate(() => this.watch()); // others get their turn first
    } finally {
      this.#isWatching = false;
      if (!this.#isClosed) this.#queue.holdsProcess = this.#posted.size > 0;
    }
  }

  #spinFor(us: number): boolean {
    if (us === 0) return false;
    const endMs = performance.now() + us / 1000;
    let hasFound = false;
    do hasFound = this.#drain();
    while (!hasFound && performance.now() < endMs);
    this.#spin.onResult(hasFound);
    return hasFound;
  }

  /** Arms the queue. @returns Whether something completed just before, which made no event. */
  #armed(): boolean {
    this.#queue.arm();
    return this.#drain();
  }

  #onEvent(): void {
    if (this.#isClosed) return;
    if (this.#drain()) this.#onDrained();
    this.watch();
  }

  #drain(): boolean {
    let hasFound = false;
    while (this.#queue.poll(this.#onCompletion) > 0) hasFound = true;
    return hasFound;
  }

  readonly #onCompletion = (id: number, status: number): void => this.#complete(id, status);

  #complete(id: number, status: number): void {
    const posted = this.#posted.get(id);
    if (posted === undefined) return;
    this.#posted.delete(id);
    posted.owner.inflight -= 1;
    posted.work.onCompleted(status);
  }

  /**
   * Ends a queue pair: what is posted completes as flushed. Resolves when it is destroyed, after which neither the card nor
   * a peer touches memory by it.
   */
  async destroyPair(owner: CardPair): Promise<void> {
    try {
      owner.pair.fail();
    } catch {
      // It never got as far as to have requests, or its device is gone: destroying it is enough.
    }
    await Promise.resolve(); // a completion may have brought us here, and those after it must be read before the queue is again
    const endMs = performance.now() + FLUSH_WAIT_MS;
    while (owner.inflight > 0 && performance.now() < endMs && !this.#isClosed) {
      this.#drain();
      if (owner.inflight > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    owner.pair.destroy();
    for (const [id, posted] of this.#posted) if (posted.owner === owner) this.#complete(id, WC_FLUSHED);
    this.#onDrained();
  }

  /** Queue pairs and memory of it have been let go. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue.close();
    this.device.close();
    this.#chain.free();
  }
}
