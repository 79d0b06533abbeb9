import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { errno } from '../../../native/libc.ts';
import { Scratch } from '../../../native/scratch.ts';
import {
  acceptConnection,
  bindToCard,
  closeSocket,
  EMFILE,
  ENFILE,
  localAddress,
  localPort,
  openListener,
  type SocketAddress,
  tuneConnection,
} from '../../../native/sockets.ts';
import { SplicedBytes } from '../../../native/spliced-bytes.ts';
import type { RegisteredRange, RegisteredRanges } from '../../registered-ranges.ts';
import type { MovedBytes } from '../../transfer-counts.ts';
import { encodeStatus, STATUS_BYTES, type Status } from './framing.ts';
import type { MessageHeader } from './message-header.ts';
import type { Pacer } from './pacer.ts';
import type { Reactor } from './reactor.ts';
import type { SendLoad } from './send-load.ts';
import { DRAIN_BYTES, ServerConnection, type ServerContext, SLOT_BYTES } from './server-connection.ts';

const LISTEN_BACKLOG = 1024;
/** Connections from which on the listening worker deals out the next ones unseen. */
const KEPT_MAX = 8;
/** Out of descriptors, accepting again at once would only spin. */
const ACCEPT_PAUSE_MS = 100;
const HEADER_TIMEOUT_MS = 10_000;
/** A peer that asks again as soon as it has its answer, as one with a small queue does, is back within this time. */
const LINGER_MS = 1;
const SERVE_STALL_TIMEOUT_MS = 30_000;

/** In the order of their memory; the first is sent by reference too. */
const STATUSES: readonly Status[] = ['ok', 'rejected', 'busy', 'sent'];

export interface InboundOptions {
  readonly reactor: Reactor;
  readonly ranges: RegisteredRanges;
  readonly message: MessageHeader;
  readonly load: SendLoad;
  readonly siblings: readonly MessagePort[];
  readonly maxConnections: number;
  /** Cards by those addresses whose answers must not follow the routes of the system. */
  readonly cardOfAddress: ReadonlyMap<string, string>;
  /** Undefined: no limit. */
  readonly upload: Pacer | undefined;
  readonly download: Pacer | undefined;
  readonly onMemoryFault: (range: RegisteredRange) => void;
}

/**
 * The serving half of a worker. One worker listens and deals the accepted sockets out in turn: descriptors belong to the process,
 * so a number is all that has to travel. A few peers that ask for little and wait for it stay: spread over workers they
 * would each find theirs asleep.
 */
export class Inbound {
  /** Payload that peers have taken or brought. */
  readonly served: MovedBytes = { read: 0, write: 0 };
  readonly #options: InboundOptions;
  readonly #context: ServerContext;
  readonly #connections = new Set<ServerConnection>();
  readonly #freeSlots: number[] = [];
  readonly #slots: Scratch;
  readonly #sink: Scratch = new Scratch(DRAIN_BYTES);
  readonly #statuses: Scratch = new Scratch(STATUSES.length * STATUS_BYTES);
  readonly #okStatus: SplicedBytes;
  #listener: number | undefined;
  #dealt = 0;

  constructor(options: InboundOptions) {
    this.#options = options;
    this.#slots = new Scratch(options.maxConnections * SLOT_BYTES);
    for (let slot = options.maxConnections - 1; slot >= 0; slot--) this.#freeSlots.push(slot * SLOT_BYTES);
    const { address } = this.#statuses;
    for (const [index, status] of STATUSES.entries()) encodeStatus(this.#statuses, index * STATUS_BYTES, status);
    this.#okStatus = new SplicedBytes(address, STATUS_BYTES);
    this.#context = {
      ...options,
      okStatus: this.#okStatus,
      served: this.served,
      slots: this.#slots,
      statusAddress: (status) => address + STATUSES.indexOf(status) * STATUS_BYTES,
      sink: this.#sink,
      limits: { headerTimeoutMs: HEADER_TIMEOUT_MS, stallTimeoutMs: SERVE_STALL_TIMEOUT_MS },
      onClosed: (connection) => {
        this.#connections.delete(connection);
        this.#freeSlots.push(connection.slot);
      },
    };
    for (const sibling of options.siblings) sibling.on('message', (fd: number) => this.adopt(fd));
  }

  /** @returns The port. @throws P2P_SYSTEM_CALL_FAILED The address is in use or not ours. */
  listen(at: SocketAddress): number {
    this.#listener = openListener(at, LISTEN_BACKLOG);
    this.#startAccepting(this.#listener);
    return localPort(this.#listener);
  }

  #startAccepting(listener: number): void {
    this.#options.reactor.listen(listener, () => this.#acceptAll(listener));
  }

  #acceptAll(listener: number): void {
    for (;;) {
      const fd = acceptConnection(listener);
      if (fd < 0) break;
      if (this.#options.siblings.length > 0 && this.#connections.size < KEPT_MAX) this.adopt(fd, this.#deal);
      else this.#deal(fd);
    }
    this.#onAcceptFailed(listener, errno());
  }

  readonly #deal = (fd: number): void => {
    const turn = this.#dealt++ % (this.#options.siblings.length + 1);
    if (turn === 0) this.adopt(fd);
    else this.#options.siblings[turn - 1]?.postMessage(fd);
  };

  #onAcceptFailed(listener: number, code: number): void {
    if (code !== EMFILE && code !== ENFILE) return;
    this.#options.reactor.unlisten(listener);
    setTimeout(() => {
      if (this.#listener === listener) this.#startAccepting(listener);
    }, ACCEPT_PAUSE_MS);
  }

  /**
   * Serves an accepted socket. When full, the one that has rested longest makes room, or the newcomer goes.
   *
   * @param deal - Takes the socket when its first request shows that it is better served in turn.
   */
  adopt(fd: number, deal?: (fd: number) => void): void {
    if (this.#freeSlots.length === 0) this.#longestIdle()?.close();
    const slot = this.#freeSlots.pop();
    if (slot === undefined) {
      closeSocket(fd);
      return;
    }
    tuneConnection(fd);
    this.#bindToItsCard(fd);
    const connection = new ServerConnection(fd, slot, this.#context, deal);
    this.#connections.add(connection);
    this.#options.reactor.add(connection);
  }

  #bindToItsCard(fd: number): void {
    const { cardOfAddress } = this.#options;
    const card = cardOfAddress.size === 0 ? undefined : cardOfAddress.get(localAddress(fd));
    if (card !== undefined) bindToCard(fd, card);
  }

  #longestIdle(): ServerConnection | undefined {
    let longest: ServerConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.isIdle && connection.lastProgressMs < (longest?.lastProgressMs ?? Number.POSITIVE_INFINITY)) {
        longest = connection;
      }
    }
    return longest;
  }

  /** Whether answers are under way, or have been so lately that the next request is likely to come at once. */
  get isBusy(): boolean {
    const lately = performance.now() - LINGER_MS;
    for (const connection of this.#connections) {
      if (!connection.isIdle || connection.lastProgressMs > lately) return true;
    }
    return false;
  }

  /** Ends every connection that moves bytes of that range right now. */
  revoke(range: RegisteredRange): void {
    for (const connection of this.#connections) connection.revoke(range);
  }

  close(): void {
    if (this.#listener !== undefined) {
      this.#options.reactor.unlisten(this.#listener);
      closeSocket(this.#listener);
      this.#listener = undefined;
    }
    for (const connection of this.#connections) connection.close();
    for (const sibling of this.#options.siblings) {
      // Sockets that were dealt to this worker and not adopted yet have no other owner.
      for (let dealt = receiveMessageOnPort(sibling); dealt !== undefined; dealt = receiveMessageOnPort(sibling)) {
        closeSocket(dealt.message as number);
      }
      sibling.close();
    }
    this.#slots.free();
    this.#sink.free();
    this.#statuses.free();
    this.#okStatus.close();
  }
}
