/** Everything between this engine and one segment: the paths, what waits for them, and the peer's registrations. */
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import { completionStatusText } from '../../../native/verbs-queue.ts';
import type { Logger } from '../../../observability/logger.ts';
import { type CardPair, choosePath, selectPaths } from '../../paths/path-choice.ts';
import type { Segment } from '../../segment.ts';
import type { Reach } from '../transport.ts';
import { meaningOf } from './completion-status.ts';
import type { RemoteRange } from './handshake.ts';
import type { RdmaCard } from './rdma-card.ts';
import { type PathEvents, RdmaPath, type RemoteDevice } from './rdma-path.ts';
import type { RdmaSlice, RdmaTransfer } from './rdma-transfer.ts';
import type { RemoteMemory } from './remote-memory.ts';

export interface RdmaPeerOptions {
  readonly segment: Segment;
  readonly cards: readonly RdmaCard[];
  readonly devices: readonly RemoteDevice[];
  readonly remote: RemoteMemory;
  readonly connect: PathEvents['connect'];
  readonly logger: Logger;
}

/** Large, so that a card has few requests to deal with: emulated ones carry a third more than in slices of 1 MiB. */
const SLICE_BYTES_MAX = 8 * 1024 * 1024;
/** Several paths share a request in slices that shrink with what is left of it, down to this, so that they end together. */
const SLICE_BYTES_MIN = 1024 * 1024;
const SLICES_PER_PATH = 4;
/** More pairs of cards than this help nobody. */
const PATHS_MAX = 16;
/** What is cancelled and still not quiet by then loses its connection. */
const CANCEL_WAIT_MS = 1000;

interface Carriers {
  readonly up: readonly RdmaPath[];
  readonly wanted: readonly RdmaPath[];
}

export class RdmaPeer {
  readonly #options: RdmaPeerOptions;
  readonly #paths: readonly RdmaPath[];
  /** In the order in which they came; the urgent ones go before all others. */
  readonly #waiting = new Set<RdmaTransfer>();
  readonly #urgent = new Set<RdmaTransfer>();
  /** Posted slices, to find the paths of a transfer. */
  readonly #posted = new Map<RdmaSlice, RdmaPath>();
  #heard: Segment | undefined;
  #isDispatchQueued = false;
  #lastUsedMs = performance.now();

  constructor(options: RdmaPeerOptions) {
    this.#options = options;
    const events: PathEvents = {
      connect: options.connect,
      onSlice: (path, slice, status) => this.#onSlice(path, slice, status),
      onChanged: () => this.dispatch(),
    };
    const { cards, devices } = options;
    this.#paths = cards
      .flatMap((card, at) => devices.map((device, index) => ({ card, device, turn: Math.abs(at - index) })))
      .sort((a, b) => a.turn - b.turn)
      .slice(0, PATHS_MAX)
      .map(({ card, device }) => new RdmaPath(card, device, events));
  }

  get isBusy(): boolean {
    return this.#waiting.size > 0 || this.#urgent.size > 0 || this.#posted.size > 0;
  }

  get lastUsedMs(): number {
    return this.#lastUsedMs;
  }

  /** Connects the paths that would be used, and tells whether one works. */
  async probe(): Promise<Reach> {
    const nowMs = performance.now();
    const wanted = selectPaths(this.#ranked(() => 0).filter(({ path }) => path.isReady || path.mayConnect(nowMs)));
    await Promise.all(wanted.filter(({ path }) => !path.isReady).map(({ path }) => path.connect()));
    const up = this.#paths.filter((path) => path.isReady);
    const names = (paths: readonly RdmaPath[]): string =>
      paths.map(({ localCard, remoteCard }) => `${localCard} to ${remoteCard}`).join(', ');
    return up.length > 0 ? { ok: true, reason: names(up) } : { ok: false, reason: this.#faults() };
  }

  #faults(): string {
    if (this.#paths.length === 0) return 'no pair of cards';
    return this.#paths
      .map(({ localCard, remoteCard, health }) => `${localCard} to ${remoteCard}: ${health.lastFault ?? health.state}`)
      .join('; ');
  }

  /** Takes what a segment says of its memory unasked, when it is another answer than the last. */
  hear(segment: Segment, ranges: readonly RemoteRange[]): void {
    if (segment === this.#heard) return;
    this.#heard = segment;
    for (const range of ranges) this.#options.remote.add(range);
  }

  submit(transfer: RdmaTransfer): void {
    this.#lastUsedMs = performance.now();
    const { remoteAddress, lengthBytes } = transfer.request;
    const range = this.#options.remote.find(remoteAddress, lengthBytes);
    if (range !== undefined) this.#admit(transfer, range);
    else void this.#learnFor(transfer, undefined);
  }

  /** @param before - What proved wrong. */
  async #learnFor(transfer: RdmaTransfer, before: RemoteRange | undefined): Promise<void> {
    const { remote } = this.#options;
    const { remoteAddress, lengthBytes } = transfer.request;
    transfer.isLearning = true;
    try {
      await remote.learn(remoteAddress);
      transfer.isLearning = false;
    } catch (cause) {
      transfer.end(this.#failed(transfer, 'its keys cannot be asked for', cause));
      return;
    }
    if (transfer.isEnding || transfer.isSettled) return;
    const range = remote.find(remoteAddress, lengthBytes);
    const isSame = before !== undefined && JSON.stringify(before.keys) === JSON.stringify(range?.keys);
    if (range === undefined || isSame) transfer.end(this.#rejected(transfer));
    else this.#admit(transfer, range);
    this.#dispatchSoon();
  }

  /** Once for all that one answer of the peer admits. */
  #dispatchSoon(): void {
    if (this.#isDispatchQueued) return;
    this.#isDispatchQueued = true;
    setImmediate(() => {
      this.#isDispatchQueued = false;
      this.dispatch();
    });
  }

  #admit(transfer: RdmaTransfer, range: RemoteRange): void {
    const isAllowed = transfer.request.opcode === 'read' ? range.isReadable : range.isWritable;
    if (!isAllowed) {
      transfer.end(this.#rejected(transfer));
      return;
    }
    transfer.range = range;
    this.#enqueue(transfer);
  }

  #enqueue(transfer: RdmaTransfer): void {
    if (isUrgent(transfer)) this.#urgent.add(transfer);
    else this.#waiting.add(transfer);
  }

  #dequeue(transfer: RdmaTransfer): void {
    this.#urgent.delete(transfer);
    this.#waiting.delete(transfer);
  }

  /** What is not posted ends at once, the rest when its card is done with it. */
  cancel(transfer: RdmaTransfer): void {
    this.#dequeue(transfer);
    transfer.end('canceled');
    if (transfer.isSettled) return;
    const timer = setTimeout(() => {
      for (const [slice, path] of this.#posted) {
        if (slice.transfer === transfer) path.drop('a cancelled request did not complete');
      }
    }, CANCEL_WAIT_MS);
    timer.unref();
  }

  /** Posts what the paths take. */
  dispatch(): void {
    if (this.#waiting.size === 0 && this.#urgent.size === 0) return;
    this.#lastUsedMs = performance.now();
    const touched = new Set<RdmaPath>();
    this.#postFirst(this.#urgent, touched);
    this.#postFirst(this.#waiting, touched);
    for (const path of touched) path.flush();
    for (const card of new Set([...touched].map((path) => path.card))) card.watch();
  }

  #postFirst(transfers: Iterable<RdmaTransfer>, touched: Set<RdmaPath>): void {
    let carriers: Carriers | undefined;
    let carried: RdmaTransfer | undefined;
    for (const transfer of transfers) {
      if (carriers === undefined || !isAlike(carried, transfer)) carriers = this.#carriersOf(transfer);
      carried = transfer;
      if (!this.#postSlices(transfer, carriers, touched)) return;
    }
  }

  /** @returns Whether the next transfer gets its turn. */
  #postSlices(transfer: RdmaTransfer, { up, wanted }: Carriers, touched: Set<RdmaPath>): boolean {
    if (up.length === 0) {
      if (wanted.some((path) => path.isConnecting)) return true;
      this.#dequeue(transfer);
      transfer.end(this.#unreachable());
      return true;
    }
    while (transfer.hasUnsent) {
      const wantedBytes = sliceBytes(transfer, up);
      const path = this.#choose(transfer, up, wantedBytes);
      if (path === undefined) return false;
      const slice = transfer.take(Math.min(wantedBytes, path.card.port.maxMessageBytes));
      this.#posted.set(slice, path);
      path.add(slice, transfer.local.byCard.get(path.card)?.localKey ?? 0, transfer.range?.keys[path.remoteCard] ?? 0);
      touched.add(path);
    }
    this.#dequeue(transfer);
    return true;
  }

  /** An urgent one does not wait for room in the window, only for a place in a queue. */
  #choose(transfer: RdmaTransfer, up: readonly RdmaPath[], wantedBytes: number): RdmaPath | undefined {
    const { unsentBytes } = transfer;
    if (!isUrgent(transfer)) return choosePath(up, Math.min(wantedBytes, unsentBytes), unsentBytes);
    return up.filter((path) => path.hasPlace).toSorted((a, b) => a.inflightBytes - b.inflightBytes)[0];
  }

  /** The paths that can carry a transfer, near cards before far ones; connects those that should be up. */
  #carriersOf(transfer: RdmaTransfer): Carriers {
    const nowMs = performance.now();
    const { local, range } = transfer;
    const far = range?.preferred ?? [];
    const rankOf = (path: RdmaPath): number => rank(local.preferred, path.localCard) + rank(far, path.remoteCard);
    const able = this.#ranked(rankOf).filter(
      ({ path }) => local.byCard.has(path.card) && range?.keys[path.remoteCard] !== undefined,
    );
    const possible = able.filter(({ path }) => path.isReady || path.isConnecting || path.mayConnect(nowMs));
    const wanted = selectPaths(possible).map(({ path }) => path);
    for (const path of wanted) if (path.mayConnect(nowMs)) void path.connect();
    const up = selectPaths(able.filter(({ path }) => path.isReady)).map(({ path }) => path);
    return { up, wanted };
  }

  #ranked(rankOf: (path: RdmaPath) => number): {
    readonly path: RdmaPath;
    readonly route: CardPair;
  }[] {
    return this.#paths.map((path) => {
      const { localCard, remoteCard, remoteAddress } = path;
      return { path, route: { localCard, remoteCard, remoteAddress, rank: rankOf(path) } };
    });
  }

  #onSlice(path: RdmaPath, slice: RdmaSlice, status: number): void {
    const { transfer } = slice;
    this.#posted.delete(slice);
    this.#lastUsedMs = performance.now();
    const meaning = meaningOf(status);
    if (meaning === 'done') {
      transfer.onDone(slice);
      return;
    }
    const text = `${completionStatusText(status)} between ${path.localCard} and ${path.remoteCard}`;
    if (meaning === 'local-fault') transfer.end(this.#failed(transfer, text));
    transfer.onLost(slice, () => this.#failed(transfer, text));
    const isRefused = meaning === 'refused' && slice.range === transfer.range;
    if (isRefused && !transfer.isEnding && !transfer.isLearning) this.#onRefused(transfer);
    else if (transfer.hasUnsent && !transfer.isLearning) this.#enqueue(transfer);
  }

  /** The memory is not registered any more, or again and with another key. */
  #onRefused(transfer: RdmaTransfer): void {
    this.#dequeue(transfer);
    this.#options.remote.forget(transfer.request.remoteAddress);
    void this.#learnFor(transfer, transfer.range);
  }

  /** @param isUp - Whether the port of a card is up. */
  tick(nowMs: number, isUp: (card: RdmaCard) => boolean): void {
    for (const path of this.#paths) {
      path.meter.tick(nowMs, path.inflightBytes > 0);
      path.checkStall(nowMs);
      if (this.isBusy) path.checkCard(isUp(path.card));
    }
    this.dispatch();
  }

  #rejected({ request }: RdmaTransfer): P2PStoreError {
    const { name: peer } = this.#options.segment;
    const { opcode, remoteAddress, lengthBytes } = request;
    const message = `Cannot ${opcode} ${lengthBytes} bytes at 0x${remoteAddress.toString(16)} of "${peer}": they are not registered for that`;
    return new P2PStoreError(ErrorCode.TransferRejected, message, {
      peer,
      address: BigInt(remoteAddress),
      lengthBytes,
    });
  }

  #failed({ request }: RdmaTransfer, state: string, cause?: unknown): P2PStoreError {
    const { name: peer } = this.#options.segment;
    const { opcode, remoteAddress, lengthBytes } = request;
    const context = { peer, address: BigInt(remoteAddress), lengthBytes };
    return new P2PStoreError(
      ErrorCode.TransferFailed,
      `Cannot ${opcode} ${lengthBytes} bytes of "${peer}" by RDMA: ${state}`,
      context,
      { cause },
    );
  }

  #unreachable(): P2PStoreError {
    const { name: peer } = this.#options.segment;
    return new P2PStoreError(ErrorCode.PeerUnreachable, `Cannot reach "${peer}" by RDMA: ${this.#faults()}`, { peer });
  }
}

/** What one path takes of a request at a time. */
function sliceBytes({ unsentBytes }: RdmaTransfer, up: readonly RdmaPath[]): number {
  if (up.length === 1) return SLICE_BYTES_MAX;
  const share = unsentBytes / (up.length * SLICES_PER_PATH);
  return Math.max(SLICE_BYTES_MIN, Math.min(SLICE_BYTES_MAX, Math.floor(share / SLICE_BYTES_MIN) * SLICE_BYTES_MIN));
}

function rank(preferred: readonly string[], name: string): number {
  return preferred.length === 0 || preferred.includes(name) ? 0 : 1;
}

function isUrgent({ request }: RdmaTransfer): boolean {
  return request.priority === 'high';
}

/** Whether the same paths serve both. */
function isAlike(before: RdmaTransfer | undefined, transfer: RdmaTransfer): boolean {
  if (before === undefined) return false;
  return before.range === transfer.range && before.local === transfer.local;
}
