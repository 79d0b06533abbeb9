/**
 * Between processes of one host: reads and writes the memory of the other process by a system call, without its help and
 * without sockets. What it lets others touch it lists in a {@link RangeTable}.
 */
import { randomBytes } from 'node:crypto';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import { MARK_BYTES, ProcessCopy } from '../../../native/process-memory.ts';
import { Scratch } from '../../../native/scratch.ts';
import type { Logger } from '../../../observability/logger.ts';
import type { RegisteredRange } from '../../registered-ranges.ts';
import type { Segment } from '../../segment.ts';
import { MemoryMover } from '../memory-mover.ts';
import type { Reach, Transport, TransportRequest } from '../transport.ts';
import { type HostIdentity, type LocalEndpoint, parseLocalEndpoint, readHostIdentity } from './local-endpoint.ts';
import { LocalPeer } from './local-peer.ts';
import { RangeTable } from './range-table.ts';

const IDLE_PEER_MS = 60_000;

interface OpenPeer {
  readonly peer: LocalPeer;
  usedMs: number;
}

export class LocalTransport implements Transport {
  readonly name = 'local';
  readonly endpoint: LocalEndpoint;
  readonly #host: HostIdentity;
  readonly #mover: MemoryMover = new MemoryMover();
  readonly #probe: ProcessCopy = new ProcessCopy(1);
  /** Holds the mark, where nothing moves it. */
  readonly #scratch: Scratch = new Scratch(MARK_BYTES);
  readonly #table: RangeTable;
  readonly #peers = new Map<string, OpenPeer>();
  /** Lost ones with calls that have not ended. */
  readonly #retired = new Set<LocalPeer>();
  readonly #idleTimer: NodeJS.Timeout;
  #closing: Promise<void> | undefined;

  private constructor(host: HostIdentity, logger: Logger) {
    const mark = randomBytes(MARK_BYTES);
    this.#host = host;
    this.#scratch.bytes.set(mark);
    this.#table = new RangeTable(mark, logger);
    this.endpoint = {
      ...host,
      pid: process.pid,
      tableFd: this.#table.fd,
      markAddress: this.#scratch.address,
      mark: mark.toString('hex'),
    };
    this.#idleTimer = setInterval(() => this.#dropIdlePeers(), IDLE_PEER_MS / 4);
    this.#idleTimer.unref();
  }

  /** @returns Undefined where the system does not tell hosts and processes apart. */
  static open(logger: Logger): LocalTransport | undefined {
    const host = readHostIdentity();
    return host === undefined ? undefined : new LocalTransport(host, logger);
  }

  canReach(segment: Segment): Reach {
    const peer = this.#peerOf(segment);
    if (typeof peer === 'string') return { ok: false, reason: peer };
    return { ok: true, reason: peer.way };
  }

  #peerOf(segment: Segment): LocalPeer | string {
    const published = segment.endpoints?.['local'];
    if (published === undefined) return 'it offers none';
    const endpoint = parseLocalEndpoint(published);
    if (endpoint === undefined) return 'what it offers is of another version';
    const key = `${endpoint.pid} ${endpoint.mark}`;
    const known = this.#peers.get(key);
    if (known !== undefined && !known.peer.isLost) {
      known.usedMs = performance.now();
      return known.peer;
    }
    if (known !== undefined) this.#retire(key, known.peer);
    const peer = LocalPeer.open(endpoint, this.#host, this.#probe);
    if (typeof peer !== 'string') this.#peers.set(key, { peer, usedMs: performance.now() });
    return peer;
  }

  #retire(key: string, peer: LocalPeer): void {
    this.#peers.delete(key);
    if (this.#mover.isUsing(peer)) this.#retired.add(peer);
    else peer.close();
  }

  async register(range: RegisteredRange): Promise<void> {
    this.#table.add(range);
  }

  unregister(address: number): Promise<void> {
    return this.#table.remove(address);
  }

  submit(requests: readonly TransportRequest[]): void {
    for (const request of requests) {
      const peer = this.#closing === undefined ? this.#peerOf(request.segment) : 'the transport is closed';
      if (typeof peer === 'string') request.onSettled(unreachable(request.segment, peer));
      else this.#mover.submit(peer, request);
    }
  }

  cancel(requests: readonly TransportRequest[]): void {
    for (const request of requests) this.#mover.cancel(request);
  }

  #dropIdlePeers(): void {
    const nowMs = performance.now();
    for (const [key, { peer, usedMs }] of this.#peers) {
      if (peer.isLost || (nowMs - usedMs >= IDLE_PEER_MS && !this.#mover.isUsing(peer))) this.#retire(key, peer);
    }
    for (const peer of this.#retired) {
      if (this.#mover.isUsing(peer)) continue;
      peer.close();
      this.#retired.delete(peer);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#idleTimer);
    await this.#mover.close();
    for (const [key, { peer }] of this.#peers) this.#retire(key, peer);
    for (const peer of this.#retired) peer.close();
    await this.#table.close();
    this.#probe.free();
    this.#scratch.free();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function unreachable({ name }: Segment, reason: string): P2PStoreError {
  const message = `Cannot reach the process of segment ${name}: ${reason}`;
  return new P2PStoreError(ErrorCode.PeerUnreachable, message, { peer: name });
}
