import os from 'node:os';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import type { PathStatus } from '../../paths/path-status.ts';
import { flowOf, type RegisteredRange, RegisteredRanges } from '../../registered-ranges.ts';
import type { Segment } from '../../segment.ts';
import type { Topology } from '../../topology/topology.ts';
import type { MovedBytes } from '../../transfer-counts.ts';
import { createRateLimit, type RateLimit } from '../rate-limiter.ts';
import type { Reach, Transport, TransportRequest } from '../transport.ts';
import { digestOf } from './digest-halves.ts';
import { DirectWorker } from './direct-worker.ts';
import { Identity, IdentityQuestion } from './identity.ts';
import { type FromWorker, Outcome, REQUEST_FIELDS, RESULT_FIELDS } from './messages.ts';
import { PeerWatch } from './peer-watch.ts';
import { PiecePace } from './piece-pace.ts';
import { portionsUnder, SLICE_BYTES } from './portions.ts';
import { createSendLoad } from './send-load.ts';
import { RequestProgress, type Slice } from './slice.ts';
import { cardsByAddress, IDENTITY_BYTES, publishEndpoint, readEndpoint, type TcpEndpoint } from './tcp-endpoint.ts';
import type { PeerConnection } from './tcp-path.ts';
import { type PeerContext, TcpPeer } from './tcp-peer.ts';
import { TcpRoutes } from './tcp-routes.ts';
import { WorkerHandle } from './worker-handle.ts';

export interface TcpTransportOptions {
  /** Numeric address to listen on; `::` takes IPv4 too. */
  readonly bindHost: string;
  /** Data port; 0 lets the system choose. */
  readonly dataPort: number;
  /** I/O worker threads, 1 to 64. */
  readonly ioWorkers: number;
  /** Host name or address that peers dial, and the cards that may serve them; absent: the system chooses all ways. */
  readonly host?: string | undefined;
  readonly topology?: Topology | undefined;
  /** Connections to one peer, 1 to 64; where it is reached over several pairs of cards, for each pair. */
  readonly connectionsPerPeer: number;
  /** Accepted connections over all workers; the longest idle makes room. */
  readonly maxInboundConnections: number;
  readonly connectTimeoutMs: number;
  /** Time without a byte while some are due before a connection counts as dead, in ms. */
  readonly stallTimeoutMs: number;
  /** Payload bytes a second, over all workers and peers; undefined: no limit. */
  readonly maxUploadBytesPerSecond: number | undefined;
  readonly maxDownloadBytesPerSecond: number | undefined;
  readonly logger: Logger;
  /** Memory of ours that a peer asked for is gone. */
  readonly onMemoryFault: (address: number, lengthBytes: number) => void;
}

const REFUSABLE_BYTES_MAX = 16 * 1024 * 1024;
/** What the engine's own thread may move at once, so that it does not become a bottleneck. */
const DIRECT_BYTES_MAX = 64 * 1024;
const DIRECT_REQUESTS_MAX = 16;
/** Takes the thread less than a millisecond. */
const DIRECT_PIECE_BYTES_MAX = 2 * 1024 * 1024;
const IDLE_PEER_MS = 60_000;

/**
 * Half as many as cores, and no more than eight: beyond that the network card is the limit. Two at least where there are two cores,
 * as sending costs more than receiving: one worker for each leaves the receiver's core idle for a part of the time.
 */
export function defaultIoWorkers(): number {
  const cores = os.availableParallelism();
  return Math.min(8, Math.max(Math.min(2, cores), Math.floor(cores / 2)));
}

/** TCP on Mooncake's framing: reads and writes between sockets and registered memory, in worker threads. */
export class TcpTransport implements Transport {
  readonly name = 'tcp';
  readonly #options: TcpTransportOptions;
  readonly #workers: readonly WorkerHandle[];
  readonly #peers = new Map<string, TcpPeer>();
  readonly #connections = new Map<number, { readonly connection: PeerConnection; readonly peer: TcpPeer }>();
  readonly #slices = new Map<number, { readonly slice: Slice; readonly peer: TcpPeer }>();
  readonly #progress = new Map<TransportRequest, { readonly progress: RequestProgress; readonly peer: TcpPeer }>();
  /** For a few small requests, and pieces of a slow swarm; started by the first of them. */
  #direct: DirectWorker | undefined;
  readonly #directPeers = new Set<TcpPeer>();
  #directBytes = 0;
  readonly #pace = new PiecePace();
  readonly #idleTimer: NodeJS.Timeout;
  readonly #peerContext: PeerContext;
  readonly #sliceBytes: number;
  readonly #sliceBytesVersion1: number;
  /** What is registered, to tell whose bytes a request moves, and how they may be read. */
  readonly #ranges = new RegisteredRanges();
  readonly #isLimited: boolean;
  readonly #routes: TcpRoutes;
  readonly #watch = new PeerWatch();
  readonly #identity = new Identity();
  /** Who answers at the other end of a new path, by request id. */
  readonly #questions = new Map<number, IdentityQuestion>();
  #endpoint: TcpEndpoint | undefined;
  #nextId = 1;
  #port = 0;
  #closing: Promise<void> | undefined;

  private constructor(options: TcpTransportOptions) {
    this.#options = options;
    const { maxUploadBytesPerSecond, maxDownloadBytesPerSecond } = options;
    const setup = {
      sendLoad: createSendLoad(),
      uploadLimit: limitOf(maxUploadBytesPerSecond),
      downloadLimit: limitOf(maxDownloadBytesPerSecond),
      maxInboundConnections: Math.max(1, Math.ceil(options.maxInboundConnections / options.ioWorkers)),
      cardOfAddress: cardsByAddress(options.topology),
      connectTimeoutMs: options.connectTimeoutMs,
      stallTimeoutMs: options.stallTimeoutMs,
    };
    this.#routes = new TcpRoutes(options.topology);
    this.#workers = connectSiblings(options.ioWorkers).map(
      (siblings) =>
        new WorkerHandle(
          { ...setup, siblings },
          (message) => this.#onMessage(message),
          (cause) => this.#onWorkerDied(cause),
        ),
    );
    this.#isLimited = setup.uploadLimit !== undefined || setup.downloadLimit !== undefined;
    if (this.#isLimited) options.logger.debug({ maxUploadBytesPerSecond, maxDownloadBytesPerSecond }, 'rates limited');
    const portions = portionsUnder(maxDownloadBytesPerSecond);
    this.#sliceBytes = portions.sliceBytes;
    this.#sliceBytesVersion1 = portions.sliceBytesVersion1;
    this.#peerContext = {
      connectionsPerPeer: options.connectionsPerPeer,
      windowBytes: portions.windowBytes,
      newConnection: () => this.#newConnection(),
      onConnectionOpened: (connection, peer) => this.#connections.set(connection.id, { connection, peer }),
      onConnectionEnded: ({ id }) => this.#connections.delete(id),
      identify: (connection, segment, onAnswer) => this.#identify(connection, segment, onAnswer),
      onPathChanged: ({ name, health: { state, lastFault, faults } }, peer) =>
        options.logger.debug({ peer: peer.name, path: name, state, lastFault, faults }, 'path changed'),
    };
    this.#idleTimer = setInterval(() => this.#dropIdlePeers(), IDLE_PEER_MS / 4);
    this.#idleTimer.unref();
  }

  /** @throws P2P_INVALID_ARGUMENT The data port is taken, or the bind address is not of this host. */
  static async open(options: TcpTransportOptions): Promise<TcpTransport> {
    const transport = new TcpTransport(options);
    try {
      const at = { host: options.bindHost, port: options.dataPort };
      transport.#port = (await transport.#workers[0]?.call({ kind: 'listen', at }))?.port ?? 0;
      await transport.#publish();
      return transport;
    } catch (error) {
      await transport.close();
      throw error;
    }
  }

  /** Connects, and asks who answers there: a connection that never asked is not kept. */
  prepare(segment: Segment): void {
    const identity = readEndpoint(segment)?.identity;
    if (identity === undefined || this.#closing !== undefined) return;
    const question = new IdentityQuestion(identity, () => {});
    const { localAddress, remoteAddress } = question;
    const onSettled: TransportRequest['onSettled'] = (error) => question.settle(error === undefined);
    const request = { opcode: 'read', segment, localAddress, remoteAddress, lengthBytes: IDENTITY_BYTES } as const;
    this.submit([{ ...request, onProgress: () => {}, onSettled }]);
  }

  /** Where the data port listens. */
  get port(): number {
    return this.#port;
  }

  /** Only a connection can tell, and the first request makes one. */
  canReach({ port }: Segment): Reach {
    if (port === 0) return { ok: false, reason: 'the peer has no data port' };
    return { ok: true, reason: 'tcp leads to every data port' };
  }

  /** Its cards, for the segment descriptor; undefined: peers reach it at its host and port only. */
  get endpoint(): TcpEndpoint | undefined {
    return this.#endpoint;
  }

  /** The ways to all peers that were used of late. */
  paths(): PathStatus[] {
    const nowMs = performance.now();
    return [...this.#peers.values()].flatMap((peer) => peer.paths(nowMs));
  }

  /** Payload that peers have read or written so far. @throws P2P_CLOSED */
  async served(): Promise<MovedBytes> {
    const results = await Promise.all(this.#workers.map((worker) => worker.call({ kind: 'count' })));
    const total = { read: 0, write: 0 };
    for (const result of results) {
      total.read += result?.served?.read ?? 0;
      total.write += result?.served?.write ?? 0;
    }
    return total;
  }

  async #publish(): Promise<void> {
    const { topology, host } = this.#options;
    if (topology === undefined || host === undefined) return;
    this.#endpoint = await publishEndpoint(topology, host, this.#port, this.#identity.facts);
    if (this.#endpoint !== undefined) await this.#tellWorkers(this.#identity.range);
  }

  async register(range: RegisteredRange): Promise<void> {
    this.#ranges.add(range);
    await this.#tellWorkers(range);
  }

  async #tellWorkers(range: RegisteredRange): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.call({ kind: 'register', range })));
  }

  async unregister(address: number): Promise<void> {
    this.#ranges.remove(address);
    await Promise.all(this.#workers.map((worker) => worker.call({ kind: 'unregister', address })));
  }

  submit(requests: readonly TransportRequest[]): void {
    const byPeer = new Map<TcpPeer, Slice[]>();
    const isDirect = this.#fitsDirect(requests);
    let last: { readonly request: TransportRequest; readonly peer: TcpPeer } | undefined;
    for (const request of requests) {
      if (this.#closing !== undefined) {
        request.onSettled(this.#closedError());
        continue;
      }
      const peer =
        last !== undefined && this.#isSameWay(last.request, request) ? last.peer : this.#peerOf(request, isDirect);
      last = { request, peer };
      if (this.#directPeers.has(peer)) this.#directBytes += request.lengthBytes;
      const sliceBytes = this.#sliceBytesOf(request, peer);
      const flow = this.#isLimited ? this.#flowOf(request) : 0;
      const progress = new RequestProgress(request, sliceBytes, () => this.#nextId++, this.#onSliceSettled, flow);
      this.#progress.set(request, { progress, peer });
      const slices = byPeer.get(peer) ?? [];
      byPeer.set(peer, slices);
      for (const slice of progress.slices) {
        this.#slices.set(slice.id, { slice, peer });
        slices.push(slice);
      }
    }
    for (const [peer, slices] of byPeer) peer.enqueue(slices);
  }

  cancel(requests: readonly TransportRequest[]): void {
    const byPeer = new Map<TcpPeer, Slice[]>();
    for (const request of requests) {
      const entry = this.#progress.get(request);
      if (entry === undefined) continue;
      entry.progress.isCanceled = true;
      const slices = byPeer.get(entry.peer) ?? [];
      byPeer.set(entry.peer, slices);
      for (const slice of entry.progress.slices) if (this.#slices.has(slice.id)) slices.push(slice);
    }
    for (const [peer, slices] of byPeer) peer.cancel(slices);
  }

  readonly #onSliceSettled = ({ id, progress }: Slice): void => {
    this.#slices.delete(id);
    if (!progress.isSettled) return;
    const { request } = progress;
    const peer = this.#progress.get(request)?.peer;
    if (peer !== undefined && this.#directPeers.has(peer)) this.#directBytes -= request.lengthBytes;
    if (request.refuseWhen !== undefined && !progress.hasFailed) {
      this.#pace.note(request.lengthBytes, performance.now());
    }
    this.#progress.delete(request);
  };

  /** Whether it is sure that two requests go to one peer; thousands of them in a batch need not look for it. */
  #isSameWay(one: TransportRequest, other: TransportRequest): boolean {
    return one.segment === other.segment && one.priority === other.priority && !this.#routes.hasLocations;
  }

  /** Whether requests are so few and small, or pieces of a swarm so slow, that the engine's own thread may move them. */
  #fitsDirect(requests: readonly TransportRequest[]): boolean {
    if (this.#isLimited || requests.length > DIRECT_REQUESTS_MAX) return false;
    let bytes = 0;
    for (const { lengthBytes } of requests) bytes += lengthBytes;
    if (this.#directBytes + bytes <= DIRECT_BYTES_MAX) return true;
    return requests.every(isPiece) && this.#pace.isSlow(performance.now());
  }

  /** What may be refused is asked in one, so that it is refused as a whole. */
  #sliceBytesOf({ segment, refuseWhen, lengthBytes }: TransportRequest, peer: TcpPeer): number {
    if (segment.protocolVersion === 1) return this.#sliceBytesVersion1;
    const isWhole = refuseWhen !== undefined && lengthBytes <= REFUSABLE_BYTES_MAX && this.#sliceBytes === SLICE_BYTES;
    return isWhole ? lengthBytes : peer.sliceBytes(this.#sliceBytes);
  }

  #rangeOf({ localAddress, lengthBytes }: TransportRequest): RegisteredRange | undefined {
    return this.#ranges.containing(localAddress, lengthBytes);
  }

  #flowOf(request: TransportRequest): number {
    const range = this.#rangeOf(request);
    return range === undefined ? 0 : flowOf(range);
  }

  #peerOf(request: TransportRequest, fitsDirect: boolean): TcpPeer {
    const { segment, priority = 'normal' } = request;
    const location = this.#routes.hasLocations ? this.#rangeOf(request)?.location : undefined;
    const { key: wayKey, routes } = this.#routes.to(segment, location);
    // Connections of their own, so that urgent requests stand in no queue with others, neither here nor at the peer.
    const isDirect = fitsDirect && routes.length === 0 && segment.protocolVersion === 2;
    const key = `${isDirect ? 'direct' : priority} ${wayKey}`;
    let peer = this.#peers.get(key);
    if (peer === undefined) {
      peer = isDirect ? this.#createDirectPeer(segment) : new TcpPeer(segment, this.#peerContext, routes);
      this.#peers.set(key, peer);
    }
    if (peer.isRouted) this.#watch.add(peer);
    return peer;
  }

  #identify(connection: PeerConnection, segment: Segment, onAnswer: (fault: string | undefined) => void): void {
    const expected = readEndpoint(segment)?.identity;
    if (expected === undefined) {
      onAnswer(undefined); // it does not say who it is
      return;
    }
    const question = new IdentityQuestion(expected, onAnswer);
    const id = this.#nextId++;
    this.#questions.set(id, question);
    const packed = new Float64Array(REQUEST_FIELDS);
    packed.set([id, 0, question.localAddress, question.remoteAddress, IDENTITY_BYTES]);
    connection.worker.post({ kind: 'submit', connectionId: connection.id, packed });
  }

  #createDirectPeer(segment: Segment): TcpPeer {
    const settings = { ...this.#options, ranges: this.#ranges };
    this.#direct ??= new DirectWorker(settings, (message) => this.#onMessage(message));
    const worker = this.#direct;
    const newConnection = (): { id: number; worker: DirectWorker } => ({ id: this.#nextId++, worker });
    const peer = new TcpPeer(segment, { ...this.#peerContext, connectionsPerPeer: 1, newConnection });
    this.#directPeers.add(peer);
    return peer;
  }

  #newConnection(): { id: number; worker: WorkerHandle } {
    const id = this.#nextId++;
    let worker = this.#workers[0];
    let least = Number.POSITIVE_INFINITY;
    for (const candidate of this.#workers) {
      let count = 0;
      for (const { connection } of this.#connections.values()) if (connection.worker === candidate) count += 1;
      if (count < least) [worker, least] = [candidate, count];
    }
    if (worker === undefined) throw this.#closedError();
    return { id, worker };
  }

  #onMessage(message: FromWorker): void {
    switch (message.kind) {
      case 'settled':
        this.#onSettled(message.packed);
        break;
      case 'progress': {
        const slice = this.#slices.get(message.requestId)?.slice;
        slice?.progress.note(slice, message.payloadBytes);
        break;
      }
      case 'connected': {
        const entry = this.#connections.get(message.connectionId);
        entry?.peer.onConnected(entry.connection);
        break;
      }
      case 'silent': {
        const entry = this.#connections.get(message.connectionId);
        entry?.peer.onSilent(entry.connection, message.silentMs);
        break;
      }
      case 'answered': {
        const entry = this.#connections.get(message.connectionId);
        if (entry !== undefined) entry.connection.hasAnswered = true;
        break;
      }
      case 'disconnected': {
        const entry = this.#connections.get(message.connectionId);
        const { reason, end } = message;
        this.#options.logger.debug({ reason, host: entry?.connection.hostAddress }, 'data connection ended');
        entry?.peer.onDisconnected(entry.connection, reason, end);
        break;
      }
      case 'memory-fault':
        this.#options.onMemoryFault(message.address, message.lengthBytes);
        break;
      case 'answer': // matched to its call by the handle
      case 'stopped':
    }
  }

  #onSettled(packed: Float64Array): void {
    const peers = new Set<TcpPeer>();
    for (let at = 0; at < packed.length; at += RESULT_FIELDS) {
      const entry = this.#slices.get(packed[at] ?? 0);
      if (entry === undefined) {
        this.#onAnswer(packed[at] ?? 0, packed[at + 1] as Outcome);
        continue;
      }
      peers.add(entry.peer);
      entry.slice.progress.digest = digestOf([packed[at + 2] ?? Number.NaN, packed[at + 3] ?? Number.NaN]);
      entry.peer.onSettled(entry.slice, packed[at + 1] as Outcome);
    }
    for (const peer of peers) peer.dispatch();
  }

  #onAnswer(id: number, outcome: Outcome): void {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    question?.settle(outcome === Outcome.Done);
  }

  /** A defect ended a worker: nothing of this transport can be relied on, so all of it ends. */
  #onWorkerDied(cause: unknown): void {
    this.#options.logger.error({ cause }, 'I/O worker died');
    this.#closing ??= this.#stop();
  }

  #dropIdlePeers(): void {
    const nowMs = performance.now();
    for (const [key, peer] of this.#peers) {
      if (peer.idleMs(nowMs) < IDLE_PEER_MS) continue;
      peer.disconnect();
      this.#peers.delete(key);
      this.#directPeers.delete(peer);
    }
  }

  #closedError(): P2PStoreError<'P2P_CLOSED'> {
    return new P2PStoreError(ErrorCode.Closed, 'Cannot transfer: the transport is closed', { resource: 'transport' });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.cancel([...this.#progress.keys()]);
    await this.#stop();
  }

  /** Ends the workers; what they have not settled by then fails, as nothing touches its memory any more. */
  async #stop(): Promise<void> {
    clearInterval(this.#idleTimer);
    this.#watch.close();
    this.#direct?.close();
    const [listening, ...others] = this.#workers;
    await listening?.stop(); // first, so that it deals no more sockets to the others
    await Promise.all(others.map((worker) => worker.stop()));
    for (const question of this.#questions.values()) question.free();
    this.#questions.clear();
    this.#identity.free();
    const left = [...this.#slices.values()];
    for (const { peer } of left) peer.forget();
    for (const { slice, peer } of left) {
      slice.failures = Number.POSITIVE_INFINITY;
      peer.onSettled(slice, Outcome.Disconnected);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function limitOf(bytesPerSecond: number | undefined): RateLimit | undefined {
  return bytesPerSecond === undefined ? undefined : createRateLimit(bytesPerSecond);
}

/** One channel from the listening worker, the first, to each of the others. */
function connectSiblings(count: number): MessagePort[][] {
  const ports: MessagePort[][] = Array.from({ length: count }, () => []);
  for (const other of ports.slice(1)) {
    const { port1, port2 } = new MessageChannel();
    ports[0]?.push(port1);
    other.push(port2);
  }
  return ports;
}

/** Of a swarm: whoever takes no for an answer has other sources for the same bytes. */
function isPiece({ refuseWhen, lengthBytes }: TransportRequest): boolean {
  return refuseWhen !== undefined && lengthBytes <= DIRECT_PIECE_BYTES_MAX;
}
