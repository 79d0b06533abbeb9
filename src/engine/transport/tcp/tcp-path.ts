/** One way to a peer: its few connections, how much they carry, and how well the way works. */
import { PathHealth } from '../../paths/path-health.ts';
import type { PathRoute } from '../../paths/path-pairs.ts';
import type { PathStatus } from '../../paths/path-status.ts';
import { SpeedMeter } from '../../paths/speed-meter.ts';
import type { Segment } from '../../segment.ts';
import type { ConnectionWorker } from './direct-worker.ts';
import type { Slice } from './slice.ts';

export interface PeerConnection {
  readonly id: number;
  readonly worker: ConnectionWorker;
  readonly path: TcpPath;
  readonly hostAddress: string;
  isOpen: boolean;
  /** Whether the peer has sent a byte on it. */
  hasAnswered: boolean;
  /** What it was doing is not tried again. */
  isGivenUp: boolean;
  /** Its path was left: how it ends says nothing new. */
  isDropped: boolean;
  inflightBytes: number;
  inflightSlices: number;
  /** Why it ended, once it has. */
  closeReason: string | undefined;
}

export interface TcpPathOptions {
  readonly segment: Segment;
  /** Undefined: the system chooses how to reach the peer. */
  readonly route: PathRoute | undefined;
  /** What may be in flight on one connection. */
  readonly windowBytes: number;
  readonly windowSlices: number;
  readonly connectionLimit: number;
}

/** Time worth of a path's speed that is asked for ahead, so that no path holds much more work than it can do soon. */
const WINDOW_MS = 200;
const WINDOW_BYTES_MIN = 2 * 1024 * 1024;
/** What a path that just works must show in this time, whatever its speed. */
const QUIET_MS = 750;
/** Bytes that wake the receiver of a connection; slower ones look silent for as long as these take. */
const WAKE_BYTES = 256 * 1024;

export class TcpPath {
  /** Undefined: the system chooses how to reach the peer, and the path is never compared with another. */
  readonly route: PathRoute | undefined;
  readonly health: PathHealth = new PathHealth();
  readonly meter: SpeedMeter = new SpeedMeter();
  readonly connections: Set<PeerConnection> = new Set();
  /** Under way on it, the latest last; kept only where there is a route. */
  readonly slices: Set<Slice> = new Set();
  readonly #options: TcpPathOptions;
  /** Numeric, of the peer; those that did not answer are taken out. */
  addresses: string[] = [];
  /** Lowered when the peer turns connections away. */
  connectionLimit: number;
  /** Connections that were lost one after the other, without a slice that was finished in between. */
  lostSinceDone = 0;
  inflightBytes = 0;
  /** Whether a connection is on its way that is to show that the path works. */
  isProbing = false;
  /** When bytes last came over it, by `performance.now()`; long ago before the first ones. */
  lastBytesMs: number = Number.NEGATIVE_INFINITY;
  #bytes = 0;

  constructor(options: TcpPathOptions) {
    this.#options = options;
    this.route = options.route;
    this.connectionLimit = options.connectionLimit;
    this.reset();
    if (this.route === undefined) this.health.onProven(0);
  }

  /** Forgets what was learnt of the peer, which may have been restarted. */
  reset(): void {
    this.connectionLimit = this.#options.connectionLimit;
    this.lostSinceDone = 0;
    this.addresses = this.route === undefined ? [] : [this.route.remoteAddress];
  }

  get name(): string {
    const { route } = this;
    const { host, port } = this.#options.segment;
    if (route === undefined) return `${host}:${port}`;
    const remote = route.remoteCard === undefined ? '' : `${route.remoteCard} `;
    return `${route.localCard} ${route.localAddress} to ${remote}${route.remoteAddress}:${route.remotePort}`;
  }

  get isUp(): boolean {
    return this.health.state === 'up';
  }

  get bytesPerSecond(): number {
    return this.meter.bytesPerSecond;
  }

  /** Whether one more slice fits into what is asked ahead, and onto a connection. */
  hasRoom(): boolean {
    const windowBytes = Math.max(WINDOW_BYTES_MIN, (this.bytesPerSecond * WINDOW_MS) / 1000);
    return this.inflightBytes < windowBytes && this.leastLoaded() !== undefined;
  }

  leastLoaded(): PeerConnection | undefined {
    const { windowBytes, windowSlices } = this.#options;
    let best: PeerConnection | undefined;
    for (const connection of this.connections) {
      const { isOpen, inflightBytes, inflightSlices } = connection;
      const hasRoom = inflightBytes < windowBytes && inflightSlices < windowSlices;
      if (isOpen && hasRoom && (best === undefined || inflightBytes < best.inflightBytes)) best = connection;
    }
    return best;
  }

  /** A slice goes out on one of its connections. */
  take(slice: Slice, connection: PeerConnection): void {
    slice.connection = connection;
    connection.inflightBytes += slice.lengthBytes;
    connection.inflightSlices += 1;
    this.inflightBytes += slice.lengthBytes;
    if (this.route !== undefined) this.slices.add(slice);
  }

  /** A slice came back, done or not. */
  settle(slice: Slice, connection: PeerConnection): void {
    connection.inflightBytes -= slice.lengthBytes;
    connection.inflightSlices -= 1;
    this.inflightBytes -= slice.lengthBytes;
    if (this.route !== undefined) this.slices.delete(slice);
  }

  /** Whether silence of one connection for so long means that something is wrong. */
  isTooQuiet(silentMs: number): boolean {
    const wakeMs = this.meter.isMeasured ? ((this.connections.size * WAKE_BYTES) / this.bytesPerSecond) * 1000 : 0;
    return silentMs > Math.max(QUIET_MS, 2 * wakeMs);
  }

  noteDone(lengthBytes: number): void {
    this.#bytes += lengthBytes;
    this.lostSinceDone = 0;
    if (this.route === undefined) return; // nothing is compared: no look at the clock for each slice
    this.meter.add(lengthBytes);
    this.lastBytesMs = performance.now();
  }

  /** Asks the workers to end its connections. What they carried comes back, and the memory is quiet then. */
  drop(): void {
    for (const connection of this.connections) {
      connection.isOpen = false;
      connection.isDropped = true;
      connection.worker.post({ kind: 'disconnect', connectionId: connection.id });
    }
    this.connections.clear();
    this.isProbing = false;
  }

  status(nowMs: number): PathStatus {
    const { route, health } = this;
    const { segment } = this.#options;
    return {
      peer: segment.name,
      localCard: route?.localCard,
      localAddress: route?.localAddress,
      remoteCard: route?.remoteCard,
      remoteAddress: route?.remoteAddress ?? segment.host,
      remotePort: route?.remotePort ?? segment.port,
      state: health.state,
      bytes: this.#bytes,
      inflightBytes: this.inflightBytes,
      bytesPerSecond: this.meter.isMeasured ? Math.round(this.bytesPerSecond) : 0,
      faults: health.faults,
      lastFault: health.lastFault,
      heldBackMs: health.heldUntilMs === 0 ? 0 : Math.max(0, Math.round(health.heldUntilMs - nowMs)),
    };
  }
}
