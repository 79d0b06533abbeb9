/**
 * One peer as the client sees it: a queue of slices, the paths to the peer, and a few connections on each path.
 *
 * Where the system chooses the way there is one path. A slice goes to the connection with the least bytes in flight, so
 * a slow one takes fewer. What a lost connection was doing goes back to the front of the queue; a slice is given up when
 * several connections ended under it. All of them are given up when nobody answers at any of the peer's addresses, when
 * its last connection that ever answered falls silent, or when connections only end.
 *
 * With several paths, one for each pair of cards, a slice goes to the path that would end it first. A path that errs,
 * falls silent while others deliver, or whose card goes down, is left: its connections are closed, and what they carried
 * comes back to the queue once the memory is quiet. All is given up when every path failed and nothing came in between.
 */
import { lookup } from 'node:dns/promises';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import { chooseMove, choosePath } from '../../paths/path-choice.ts';
import type { PathRoute } from '../../paths/path-pairs.ts';
import type { PathStatus } from '../../paths/path-status.ts';
import type { Segment } from '../../segment.ts';
import type { ConnectionWorker } from './direct-worker.ts';
import { type ConnectionEnd, Outcome } from './messages.ts';
import { packSlices } from './pack-slices.ts';
import { PathSet } from './path-set.ts';
import type { Slice } from './slice.ts';
import { errorOfSlice } from './slice-error.ts';
import { SliceQueue } from './slice-queue.ts';
import { type PeerConnection, TcpPath } from './tcp-path.ts';

/** What a peer needs of the transport that owns it. */
export interface PeerContext {
  /** On each path. */
  readonly connectionsPerPeer: number;
  /** Bytes in flight on one connection. */
  readonly windowBytes: number;
  /** Gives a new connection its id and the worker whose turn it is. */
  newConnection(): { readonly id: number; readonly worker: ConnectionWorker };
  onConnectionOpened(connection: PeerConnection, peer: TcpPeer): void;
  onConnectionEnded(connection: PeerConnection): void;
  /** Reads over a new connection who answers there; `undefined` says that it is the right one. */
  identify(connection: PeerConnection, segment: Segment, onAnswer: (fault: string | undefined) => void): void;
  onPathChanged(path: TcpPath, peer: TcpPeer): void;
}

/** Deep enough to cover the way through the main thread; shallow enough to leave work for other connections. */
export const WINDOW_BYTES: number = 16 * 1024 * 1024;
const WINDOW_SLICES = 128;
/** Another connection is worth its set-up for this much queued. */
const BYTES_PER_CONNECTION = 2 * 1024 * 1024;
const SLICES_PER_CONNECTION = 16;
/** Connections that may end under one slice before its request fails; with several paths two more for each. */
const MAX_FAILURES = 3;
const MAX_FAILURES_PER_PATH = 2;
/** Connections that may be lost one after the other, without a slice that was finished in between. */
const MAX_LOST = 8;
/** Time to connect when other paths work. */
const PROBE_TIMEOUT_MS = 1000;
/** What is told of silence on a routed connection; then {@link TcpPath.isTooQuiet} decides. */
const SILENCE_MS = 500;
/** Slices over several paths are worth this much of the slowest one's time, within these sizes. */
const SLICE_MS = 50;
const SLICE_BYTES_MIN = 1024 * 1024;

export class TcpPeer {
  readonly #segment: Segment;
  readonly #context: PeerContext;
  readonly #paths: PathSet;
  readonly #queue = new SliceQueue();
  #isResolving = false;
  #lastUsedMs: number = performance.now();

  /** @param routes - Pairs of cards that lead to the peer; none: the system chooses the way. */
  constructor(segment: Segment, context: PeerContext, routes: readonly PathRoute[] = []) {
    this.#segment = segment;
    this.#context = context;
    const isOneShot = segment.protocolVersion === 1;
    const create = (route?: PathRoute): TcpPath =>
      new TcpPath({
        segment,
        route,
        windowBytes: isOneShot ? Number.POSITIVE_INFINITY : context.windowBytes,
        windowSlices: isOneShot ? 1 : WINDOW_SLICES,
        connectionLimit: context.connectionsPerPeer,
      });
    this.#paths = new PathSet(routes.length === 0 ? [create()] : routes.map(create));
  }

  /** Of its segment, and where that is reached. */
  get name(): string {
    return `${this.#segment.name} at ${this.#segment.host}:${this.#segment.port}`;
  }

  /** Whether its paths are pairs of cards, which want a {@link tick}. */
  get isRouted(): boolean {
    return this.#paths.isRouted;
  }

  /** How requests are to be cut, so that the end of a transfer is shared out evenly too. */
  sliceBytes(maxBytes: number): number {
    if (!this.isRouted) return maxBytes;
    const slowest = Math.min(...this.#paths.usable.map(({ bytesPerSecond }) => bytesPerSecond));
    const wanted = Number.isFinite(slowest) ? (slowest * SLICE_MS) / 1000 : SLICE_BYTES_MIN;
    const whole = Math.ceil(wanted / SLICE_BYTES_MIN) * SLICE_BYTES_MIN;
    return Math.min(maxBytes, Math.max(SLICE_BYTES_MIN, whole));
  }

  /** Milliseconds without work, 0 while there is some. */
  idleMs(nowMs: number): number {
    const isIdle = this.#queue.length === 0 && this.#paths.all.every(({ inflightBytes }) => inflightBytes === 0);
    return isIdle ? nowMs - this.#lastUsedMs : 0;
  }

  paths(nowMs: number): PathStatus[] {
    return this.#paths.all.map((path) => path.status(nowMs));
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
      const connection = this.#nextConnection();
      const slice = connection === undefined ? undefined : this.#queue.take();
      if (connection === undefined || slice === undefined) break;
      connection.path.take(slice, connection);
      const list = taken.get(connection);
      if (list === undefined) taken.set(connection, [slice]);
      else list.push(slice);
    }
    for (const [connection, slices] of taken) {
      connection.worker.post({ kind: 'submit', connectionId: connection.id, packed: packSlices(slices) });
    }
    if (this.#queue.length === 0) return;
    for (const path of this.#paths.usable) void this.#openConnections(path);
    if (this.#paths.usable.length === 0) this.#probe();
  }

  #nextConnection(): PeerConnection | undefined {
    const { usable, isRouted } = this.#paths;
    const { length, bytes } = this.#queue;
    if (length === 0) return undefined;
    const path = isRouted ? choosePath(usable, bytes / length, bytes) : usable[0];
    return path?.leastLoaded();
  }

  async #openConnections(path: TcpPath): Promise<void> {
    if (this.#isResolving) return;
    if (path.addresses.length === 0) {
      this.#isResolving = true;
      try {
        const found = await lookup(this.#segment.host, { all: true });
        path.addresses = found.map(({ address }) => address);
      } catch (cause) {
        return this.#failQueue('its host name does not resolve', cause);
      } finally {
        this.#isResolving = false;
      }
    }
    const wanted = Math.max(this.#queue.bytes / BYTES_PER_CONNECTION, this.#queue.length / SLICES_PER_CONNECTION);
    const missing = Math.min(Math.ceil(wanted), path.connectionLimit) - path.connections.size;
    for (let count = 0; count < missing; count++) this.#connect(path);
  }

  #connect(path: TcpPath, connectTimeoutMs?: number): void {
    const { id, worker } = this.#context.newConnection();
    const { route, addresses } = path;
    const hostAddress = addresses[0] ?? this.#segment.host;
    const connection: PeerConnection = {
      id,
      worker,
      path,
      hostAddress,
      isOpen: false,
      hasAnswered: false,
      isGivenUp: false,
      isDropped: false,
      inflightBytes: 0,
      inflightSlices: 0,
      closeReason: undefined,
    };
    path.connections.add(connection);
    this.#context.onConnectionOpened(connection, this);
    const to = { host: hostAddress, port: route?.remotePort ?? this.#segment.port };
    const from = route === undefined ? undefined : { host: route.localAddress, card: route.localCard };
    const silenceMs = route === undefined ? undefined : SILENCE_MS;
    const version = this.#segment.protocolVersion;
    worker.post({ kind: 'connect', connectionId: id, to, from, version, connectTimeoutMs, silenceMs });
  }

  // --- paths -------------------------------------------------------------------------------------

  /** Tries paths that are due. With none that works or may be tried, gives up what waits. */
  #probe(): void {
    const due = this.#paths.dueProbes(performance.now());
    for (const path of due) {
      path.isProbing = true;
      this.#connect(path, this.#paths.usable.length > 0 ? PROBE_TIMEOUT_MS : undefined);
    }
    const isLost = this.#paths.usable.length === 0 && !this.#paths.all.some(({ isProbing }) => isProbing);
    if (this.isRouted && isLost && this.#queue.length > 0) this.#failQueue(this.#paths.describeFaults());
  }

  #onIdentified(connection: PeerConnection, fault: string | undefined): void {
    const { path } = connection;
    if (connection.isDropped || !path.isProbing) return;
    if (fault !== undefined) {
      this.#leave(path, fault);
      return;
    }
    path.isProbing = false;
    path.health.onProven(performance.now());
    path.meter.recover();
    connection.isOpen = true;
    this.#paths.refresh();
    this.#context.onPathChanged(path, this);
    this.dispatch();
  }

  /** A path is not used any more; what it carried comes back, and goes over others if there are some. */
  #leave(path: TcpPath, reason: string, isCardDown = false): void {
    const nowMs = performance.now();
    if (isCardDown) path.health.onCardDown(reason, nowMs);
    else path.health.onFault(reason, nowMs);
    path.drop();
    this.#paths.onFailed(path);
    this.#context.onPathChanged(path, this);
    if (this.#paths.haveAllFailed) this.#failQueue(this.#paths.describeFaults());
    else this.dispatch();
  }

  /** The peer says nothing on a connection, though it owes an answer. It matters when it speaks on other paths. */
  onSilent({ path, isDropped }: PeerConnection, silentMs: number): void {
    if (isDropped || !path.isTooQuiet(silentMs)) return;
    const hasOthers = path.isProbing
      ? this.#paths.hasOthers(path)
      : this.#paths.hasOthersThatDeliver(path, silentMs, performance.now());
    if (hasOthers) this.#leave(path, `no byte for ${Math.round(silentMs)} ms`);
  }

  /**
   * To be called about ten times a second while there is work: measures, looks after lost paths, and moves slices from a
   * slow path to an idle one at the end.
   *
   * @param present - Addresses of this machine that are up.
   */
  tick(nowMs: number, present: ReadonlySet<string>): void {
    for (const path of this.#paths.all) {
      path.meter.tick(nowMs, path.inflightBytes > 0);
      const { route, health } = path;
      if (route === undefined) continue;
      if (present.has(route.localAddress)) health.onCardUp();
      else if (health.state !== 'down') this.#leave(path, `card ${route.localCard} is down`, true);
    }
    if (this.#queue.length > 0 || this.#paths.all.some(({ inflightBytes }) => inflightBytes > 0)) this.#probe();
    this.#move();
  }

  #move(): void {
    const move = this.#queue.length === 0 ? chooseMove(this.#paths.usable, SLICE_BYTES_MIN) : undefined;
    const slice = move === undefined ? undefined : [...move.from.slices].findLast(isMovable);
    if (slice?.connection === undefined) return;
    slice.isMoved = true;
    const { worker, id } = slice.connection;
    worker.post({ kind: 'cancel', connectionId: id, requestIds: [slice.id] });
  }

  // --- connections -------------------------------------------------------------------------------

  onConnected(connection: PeerConnection): void {
    if (connection.isGivenUp || connection.isDropped) return;
    if (connection.path.isProbing) {
      this.#context.identify(connection, this.#segment, (fault) => this.#onIdentified(connection, fault));
      return;
    }
    connection.isOpen = true;
    this.dispatch();
  }

  onDisconnected(connection: PeerConnection, reason: string, end: ConnectionEnd): void {
    const { path } = connection;
    connection.isOpen = false;
    connection.closeReason ??= reason;
    path.connections.delete(connection);
    this.#context.onConnectionEnded(connection);
    if (connection.isDropped) return;
    const hasProven = [...path.connections].some(({ hasAnswered }) => hasAnswered);
    const isTurnedAway = this.#wasTurnedAway(connection);
    if (isTurnedAway && (end === 'lost' || (hasProven && end !== 'closed'))) {
      path.connectionLimit = Math.max(1, path.connections.size);
    }
    const isCrowded = isTurnedAway && hasProven;
    if (path.isProbing || (end !== 'closed' && !isCrowded && this.#paths.hasOthers(path))) {
      this.#leave(path, reason);
      return;
    }
    if (!hasProven) this.#onNoneProven(connection, reason, end);
    const isAnotherOnItsWay = end === 'refused' && path.connections.size > 0;
    // The results of its slices follow and queue them again.
    if (path.isUp && this.#queue.length > 0 && !isAnotherOnItsWay) void this.#openConnections(path);
  }

  /** A connection of the only path ended, and no other one has had an answer yet. */
  #onNoneProven(connection: PeerConnection, reason: string, end: ConnectionEnd): void {
    const { path } = connection;
    if (end === 'refused') {
      path.addresses = path.addresses.filter((address) => address !== connection.hostAddress);
      if (path.addresses.length === 0 && path.connections.size === 0) this.#giveUp(connection, reason);
    } else if (end === 'stalled' || (end === 'lost' && ++path.lostSinceDone >= MAX_LOST)) {
      this.#giveUp(connection, reason);
    }
  }

  /** A server of version 1 refuses an address in the same way, so there it says nothing about the connection. */
  #wasTurnedAway({ hasAnswered }: PeerConnection): boolean {
    return !hasAnswered && this.#segment.protocolVersion === 2;
  }

  /** The only path does not work: other paths are tried, or all that the peer was asked for fails now. */
  #giveUp(ended: PeerConnection, reason: string): void {
    const { path } = ended;
    if (this.isRouted) {
      this.#leave(path, reason);
      return;
    }
    for (const connection of [ended, ...path.connections]) {
      connection.isOpen = false;
      connection.isGivenUp = true;
      connection.closeReason = reason;
    }
    // There is no other to go to: its next connection is its next try.
    path.health.onFault(reason, performance.now());
    path.health.onProven(performance.now());
    this.#failQueue(reason);
    this.disconnect();
  }

  #failQueue(reason: string, cause?: unknown): void {
    const failed = this.#queue.clear();
    this.#paths.reset(); // a restarted peer may have another address
    const error = new P2PStoreError(
      ErrorCode.PeerUnreachable,
      `Cannot reach segment ${this.name}: ${reason}`,
      { peer: this.#segment.name },
      { cause },
    );
    for (const slice of failed) slice.progress.settle(slice, error);
  }

  // --- slices ------------------------------------------------------------------------------------

  /** Takes back one slice with its outcome. The caller dispatches once it has passed on all of a message. */
  onSettled(slice: Slice, outcome: Outcome): void {
    const { connection, progress } = slice;
    if (connection !== undefined) {
      this.#queue.settle(slice);
      connection.path.settle(slice, connection);
      if (this.#segment.protocolVersion === 1) this.#retire(connection);
    }
    if (outcome === Outcome.Disconnected && this.#isCharged(slice)) slice.failures += 1;
    if (outcome === Outcome.Done) this.#noteDone(slice);
    const isBack = isUnfinished(slice, outcome);
    slice.isMoved = false;
    if (outcome === Outcome.Done) progress.settle(slice);
    else if (isBack && !progress.isCanceled && this.#isWorthAnotherTry(slice)) this.#queue.unshift(slice);
    else if (outcome === Outcome.Canceled || (isBack && progress.isCanceled)) progress.settle(slice, 'canceled');
    else progress.settle(slice, errorOfSlice(slice, outcome, this.#segment, this.name));
  }

  /** A connection that was turned away is not the slice's fault. */
  #isCharged({ connection }: Slice): boolean {
    return connection === undefined || !this.#wasTurnedAway(connection);
  }

  #noteDone({ connection, lengthBytes }: Slice): void {
    connection?.path.noteDone(lengthBytes);
    this.#paths.onDelivered();
  }

  #isWorthAnotherTry({ connection, failures, progress }: Slice): boolean {
    const maxFailures = MAX_FAILURES + MAX_FAILURES_PER_PATH * (this.#paths.all.length - 1);
    return connection?.isGivenUp !== true && !progress.hasFailed && failures < maxFailures;
  }

  /** Servers of version 1 may serve one request a connection. */
  #retire(connection: PeerConnection): void {
    connection.isOpen = false;
    connection.worker.post({ kind: 'disconnect', connectionId: connection.id });
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
    for (const { connections } of this.#paths.all) {
      for (const { id, worker } of connections) worker.post({ kind: 'disconnect', connectionId: id });
    }
  }
}

/** Whether it came back undone for a reason that is not its own. */
function isUnfinished({ isMoved }: Slice, outcome: Outcome): boolean {
  if (outcome === Outcome.Canceled) return isMoved;
  return outcome === Outcome.Disconnected || outcome === Outcome.Unstarted;
}

function isMovable({ isMoved, progress: { request } }: Slice): boolean {
  // The body of a WRITE may be on its way already, and would land beside the one that goes over the other path.
  return !isMoved && request.opcode === 'read';
}
