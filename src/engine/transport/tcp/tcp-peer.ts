/**
 * One peer as the client sees it: a queue of slices and a few connections that take from it.
 *
 * A slice goes to the connection with the least bytes in flight, so a slow one takes fewer. What a
 * lost connection was doing goes back to the front of the queue; a slice is given up when several
 * connections ended under it. All of them are given up when nobody answers at any of the peer's
 * addresses, when its last connection that ever answered falls silent, or when connections only end.
 */
import { lookup } from 'node:dns/promises';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { Segment } from '../../segment.ts';
import type { RefuseWhen } from '../../transfer.ts';
import { type ConnectionEnd, Outcome, REQUEST_FIELDS } from './messages.ts';
import type { Slice } from './slice.ts';
import { SliceQueue } from './slice-queue.ts';
import type { WorkerHandle } from './worker-handle.ts';

export interface PeerConnection {
  readonly id: number;
  readonly worker: WorkerHandle;
  readonly hostAddress: string;
  isOpen: boolean;
  /** Whether the peer has sent a byte on it. */
  hasAnswered: boolean;
  /** What it was doing is not tried again. */
  isGivenUp: boolean;
  inflightBytes: number;
  inflightSlices: number;
  /** Why it ended, once it has. */
  closeReason: string | undefined;
}

/** What a peer needs of the transport that owns it. */
export interface PeerContext {
  readonly connectionsPerPeer: number;
  /** Bytes in flight on one connection. */
  readonly windowBytes: number;
  /** Gives a new connection its id and the worker whose turn it is. */
  newConnection(): { readonly id: number; readonly worker: WorkerHandle };
  onConnectionOpened(connection: PeerConnection, peer: TcpPeer): void;
  onConnectionEnded(connection: PeerConnection): void;
}

/** Deep enough to cover the way through the main thread; shallow enough to leave work for other connections. */
export const WINDOW_BYTES: number = 16 * 1024 * 1024;
const WINDOW_SLICES = 128;
/** Another connection is worth its set-up for this much queued. */
const BYTES_PER_CONNECTION = 2 * 1024 * 1024;
const SLICES_PER_CONNECTION = 16;
/** Connections that may end under one slice before its request fails. */
const MAX_FAILURES = 3;
/** Connections that may be lost one after the other, without a slice that was finished in between. */
const MAX_LOST = 8;
const MUST_NOT_REFUSE: RefuseWhen = { queuedBytes: 0, sentWithinMs: 0 };

export class TcpPeer {
  readonly #segment: Segment;
  readonly #context: PeerContext;
  readonly #connections = new Set<PeerConnection>();
  readonly #queue = new SliceQueue();
  #addresses: string[] = [];
  /** Lowered when the peer turns connections away. */
  #connectionLimit: number;
  #lostSinceDone = 0;
  #isResolving = false;
  #lastUsedMs: number = performance.now();

  constructor(segment: Segment, context: PeerContext) {
    this.#segment = segment;
    this.#context = context;
    this.#connectionLimit = context.connectionsPerPeer;
  }

  get #name(): string {
    return `${this.#segment.name} at ${this.#segment.host}:${this.#segment.port}`;
  }

  /** Milliseconds without work, 0 while there is some. */
  idleMs(nowMs: number): number {
    const isIdle =
      this.#queue.length === 0 && [...this.#connections].every(({ inflightSlices }) => inflightSlices === 0);
    return isIdle ? nowMs - this.#lastUsedMs : 0;
  }

  enqueue(slices: readonly Slice[]): void {
    for (const slice of slices) this.#queue.push(slice);
    this.dispatch();
  }

  /** Hands queued slices to connections with room, and opens more connections when that pays. */
  dispatch(): void {
    this.#lastUsedMs = performance.now();
    const taken = new Map<PeerConnection, Slice[]>();
    for (;;) {
      const connection = this.#leastLoaded();
      const slice = connection === undefined ? undefined : this.#queue.take();
      if (connection === undefined || slice === undefined) break;
      slice.connection = connection;
      connection.inflightBytes += slice.lengthBytes;
      connection.inflightSlices += 1;
      const list = taken.get(connection);
      if (list === undefined) taken.set(connection, [slice]);
      else list.push(slice);
    }
    for (const [connection, slices] of taken) {
      connection.worker.post({ kind: 'submit', connectionId: connection.id, packed: packSlices(slices) });
    }
    if (this.#queue.length > 0) void this.#openConnections();
  }

  #leastLoaded(): PeerConnection | undefined {
    const isOneShot = this.#segment.protocolVersion === 1;
    let best: PeerConnection | undefined;
    for (const connection of this.#connections) {
      const { inflightBytes, inflightSlices } = connection;
      const hasRoom = isOneShot
        ? inflightSlices === 0
        : inflightBytes < this.#context.windowBytes && inflightSlices < WINDOW_SLICES;
      if (connection.isOpen && hasRoom && (best === undefined || inflightBytes < best.inflightBytes)) best = connection;
    }
    return best;
  }

  async #openConnections(): Promise<void> {
    if (this.#isResolving) return;
    if (this.#addresses.length === 0) {
      this.#isResolving = true;
      try {
        const found = await lookup(this.#segment.host, { all: true });
        this.#addresses = found.map(({ address }) => address);
      } catch (cause) {
        return this.#failQueue('its host name does not resolve', cause);
      } finally {
        this.#isResolving = false;
      }
    }
    const wanted = Math.max(this.#queue.bytes / BYTES_PER_CONNECTION, this.#queue.length / SLICES_PER_CONNECTION);
    const missing = Math.min(Math.ceil(wanted), this.#connectionLimit) - this.#connections.size;
    for (let count = 0; count < missing; count++) this.#connect();
  }

  #connect(): void {
    const { id, worker } = this.#context.newConnection();
    const hostAddress = this.#addresses[0] ?? this.#segment.host;
    const connection: PeerConnection = {
      id,
      worker,
      hostAddress,
      isOpen: false,
      hasAnswered: false,
      isGivenUp: false,
      inflightBytes: 0,
      inflightSlices: 0,
      closeReason: undefined,
    };
    this.#connections.add(connection);
    this.#context.onConnectionOpened(connection, this);
    const to = { host: hostAddress, port: this.#segment.port };
    worker.post({ kind: 'connect', connectionId: id, to, version: this.#segment.protocolVersion });
  }

  onConnected(connection: PeerConnection): void {
    if (connection.isGivenUp) return;
    connection.isOpen = true;
    this.dispatch();
  }

  onDisconnected(connection: PeerConnection, reason: string, end: ConnectionEnd): void {
    connection.isOpen = false;
    connection.closeReason ??= reason;
    this.#connections.delete(connection);
    this.#context.onConnectionEnded(connection);
    const hasProven = [...this.#connections].some(({ hasAnswered }) => hasAnswered);
    if (this.#wasTurnedAway(connection) && (end === 'lost' || (hasProven && end !== 'closed'))) {
      this.#connectionLimit = Math.max(1, this.#connections.size);
    }
    if (!hasProven) this.#onNoneProven(connection, reason, end);
    const isAnotherOnItsWay = end === 'refused' && this.#connections.size > 0;
    // The results of its slices follow and queue them again.
    if (this.#queue.length > 0 && !isAnotherOnItsWay) void this.#openConnections();
  }

  /** A connection ended, and no other one has had an answer yet. */
  #onNoneProven(connection: PeerConnection, reason: string, end: ConnectionEnd): void {
    if (end === 'refused') {
      this.#addresses = this.#addresses.filter((address) => address !== connection.hostAddress);
      if (this.#addresses.length === 0 && this.#connections.size === 0) this.#failQueue(reason);
    } else if (end === 'stalled' || (end === 'lost' && ++this.#lostSinceDone >= MAX_LOST)) {
      this.#giveUp(connection, reason);
    }
  }

  /** A server of version 1 refuses an address in the same way, so there it says nothing about the connection. */
  #wasTurnedAway({ hasAnswered }: PeerConnection): boolean {
    return !hasAnswered && this.#segment.protocolVersion === 2;
  }

  /** The peer does not work: all that it was asked for fails now, instead of one connection after the other. */
  #giveUp(ended: PeerConnection, reason: string): void {
    for (const connection of [ended, ...this.#connections]) {
      connection.isOpen = false;
      connection.isGivenUp = true;
      connection.closeReason = reason;
    }
    this.#failQueue(reason);
    this.disconnect();
  }

  #failQueue(reason: string, cause?: unknown): void {
    const failed = this.#queue.clear();
    this.#lostSinceDone = 0;
    this.#connectionLimit = this.#context.connectionsPerPeer;
    this.#addresses = []; // a restarted peer may have another
    const error = new P2PStoreError(
      ErrorCode.PeerUnreachable,
      `Cannot reach segment ${this.#name}: ${reason}`,
      { peer: this.#segment.name },
      { cause },
    );
    for (const slice of failed) slice.progress.settle(slice, error);
  }

  /** Takes back one slice with its outcome. The caller dispatches once it has passed on all of a message. */
  onSettled(slice: Slice, outcome: Outcome): void {
    const { connection, progress } = slice;
    if (connection !== undefined) {
      this.#queue.settle(slice);
      connection.inflightBytes -= slice.lengthBytes;
      connection.inflightSlices -= 1;
      if (this.#segment.protocolVersion === 1) this.#retire(connection);
    }
    // A connection that was turned away is not the slice's fault.
    const isCharged = connection === undefined || !this.#wasTurnedAway(connection);
    if (outcome === Outcome.Disconnected && isCharged) slice.failures += 1;
    const isLost = outcome === Outcome.Disconnected || outcome === Outcome.Unstarted;
    if (outcome === Outcome.Done) this.#lostSinceDone = 0;
    if (outcome === Outcome.Done) progress.settle(slice);
    else if (outcome === Outcome.Canceled || (isLost && progress.isCanceled)) progress.settle(slice, 'canceled');
    else if (isLost && this.#isWorthAnotherTry(slice)) this.#queue.unshift(slice);
    else progress.settle(slice, this.#errorOf(slice, outcome));
  }

  #isWorthAnotherTry({ connection, failures, progress }: Slice): boolean {
    return connection?.isGivenUp !== true && !progress.hasFailed && failures < MAX_FAILURES;
  }

  /** Servers of version 1 may serve one request a connection. */
  #retire(connection: PeerConnection): void {
    connection.isOpen = false;
    connection.worker.post({ kind: 'disconnect', connectionId: connection.id });
  }

  #errorOf({ progress: { request }, offset, lengthBytes, connection }: Slice, outcome: Outcome): P2PStoreError {
    const facts = { peer: this.#segment.name, address: BigInt(request.remoteAddress + offset), lengthBytes };
    switch (outcome) {
      case Outcome.Rejected:
        return new P2PStoreError(
          ErrorCode.TransferRejected,
          `Cannot ${request.opcode} memory of ${this.#name}: it refused the address`,
          facts,
        );
      case Outcome.Busy:
      case Outcome.Sent:
        return new P2PStoreError(
          ErrorCode.TransferRefused,
          `Cannot read memory of ${this.#name}: it has others to serve`,
          {
            peer: this.#segment.name,
            reason: outcome === Outcome.Busy ? 'busy' : 'sent',
          },
        );
      case Outcome.MemoryFault:
        return new P2PStoreError(
          ErrorCode.MemoryFault,
          'Cannot move bytes: the local memory is not mapped any more, or its file was truncated or is out of space',
          { address: BigInt(request.localAddress + offset), lengthBytes },
        );
      default:
        return new P2PStoreError(
          ErrorCode.TransferFailed,
          `Cannot ${request.opcode} memory of ${this.#name}: ${connection?.closeReason ?? 'the connection ended'}`,
          facts,
        );
    }
  }

  /** Drops the queued slices of cancelled requests and asks the workers to stop the others. */
  cancel(slices: readonly Slice[]): void {
    const dropped = new Set(this.#queue.remove(new Set(slices)));
    const inflight = new Map<PeerConnection, number[]>();
    for (const slice of slices) {
      if (slice.connection === undefined || dropped.has(slice)) continue;
      const ids = inflight.get(slice.connection);
      if (ids === undefined) inflight.set(slice.connection, [slice.id]);
      else ids.push(slice.id);
    }
    for (const [connection, requestIds] of inflight) {
      connection.worker.post({ kind: 'cancel', connectionId: connection.id, requestIds });
    }
    for (const slice of dropped) slice.progress.settle(slice, 'canceled');
  }

  /** Drops the queue without settling it: its transport does. */
  forget(): void {
    this.#queue.clear();
  }

  /** Closes its connections; what they carried is settled as lost. */
  disconnect(): void {
    for (const { id, worker } of this.#connections) worker.post({ kind: 'disconnect', connectionId: id });
  }
}

function packSlices(slices: readonly Slice[]): Float64Array {
  const packed = new Float64Array(slices.length * REQUEST_FIELDS);
  slices.forEach(({ id, offset, lengthBytes, progress: { request, flow } }, index) => {
    const opcode = request.opcode === 'write' ? 1 : 0;
    const isWhole = lengthBytes === request.lengthBytes;
    const { queuedBytes, sentWithinMs } = (isWhole ? request.refuseWhen : undefined) ?? MUST_NOT_REFUSE;
    const addresses = [request.localAddress + offset, request.remoteAddress + offset];
    packed.set([id, opcode, ...addresses, lengthBytes, flow, queuedBytes, sentWithinMs], index * REQUEST_FIELDS);
  });
  return packed;
}
