/**
 * One accepted connection of the data port.
 *
 *   header --ok READ--> sending --done--> header
 *      |   --ok WRITE-> receiving --done, v2--> sending (status only) --> header
 *      '---refused, v2--> sending (status REJECTED) --> draining --> closed;   v1 --> closed
 *
 * Invariant: bytes leave or enter only ranges that were registered when the header was read, and none
 * after {@link ServerConnection.revoke} of their range. Only system calls touch them.
 */

import { systemClock } from '../../../core/clock.ts';
import { errno } from '../../../native/libc.ts';
import type { Scratch } from '../../../native/scratch.ts';
import {
  closeSocket,
  deliveryRate,
  EAGAIN,
  EFAULT,
  EINTR,
  MSG_NOSIGNAL,
  receive,
  sendMessage,
  setSendAhead,
  shutdownWrites,
} from '../../../native/sockets.ts';
import type { SplicedBytes } from '../../../native/spliced-bytes.ts';
import { flowOf, type RegisteredRange, type RegisteredRanges } from '../../registered-ranges.ts';
import { Allowance } from './allowance.ts';
import { decodeHeader, encodeStatus, type FramingVersion, HEADER_BYTES, STATUS_BYTES, type Status } from './framing.ts';
import type { MessageHeader } from './message-header.ts';
import type { Pacer } from './pacer.ts';
import type { Channel, Reactor } from './reactor.ts';
import type { SendLoad } from './send-load.ts';

/** What all connections of one worker share. */
export interface ServerContext {
  readonly reactor: Reactor;
  readonly ranges: RegisteredRanges;
  /** One slot of {@link SLOT_BYTES} a connection: its header and status in flight. */
  readonly slots: Scratch;
  readonly load: SendLoad;
  /** At least {@link DRAIN_BYTES} that nobody reads. */
  readonly sink: Scratch;
  readonly message: MessageHeader;
  /** The status OK, for answers so long that the alignment of their payload matters. */
  readonly okStatus: SplicedBytes;
  readonly limits: ServerLimits;
  /** Undefined: no limit. */
  readonly upload: Pacer | undefined;
  readonly download: Pacer | undefined;
  onClosed(connection: ServerConnection): void;
  /** Serving or storing touched memory that is gone: a truncated file, an unmapped page. */
  onMemoryFault(range: RegisteredRange): void;
}

export interface ServerLimits {
  /** A header that has begun must be whole after this time. */
  readonly headerTimeoutMs: number;
  /** A peer that neither takes nor sends payload for this long is gone. */
  readonly stallTimeoutMs: number;
}

type State =
  | { readonly tag: 'header'; receivedBytes: number }
  | {
      readonly tag: 'sending';
      /** The part of the status that has not been sent; it goes before the payload. */
      statusLeftBytes: number;
      address: number;
      leftBytes: number;
      readonly range: RegisteredRange | undefined;
      /** Of the whole payload, as counted in the load. */
      readonly countedBytes: number;
      readonly endsConnection: boolean;
    }
  | {
      readonly tag: 'receiving';
      address: number;
      leftBytes: number;
      readonly range: RegisteredRange;
      readonly hasStatus: boolean;
    }
  | { readonly tag: 'draining'; leftBytes: number }
  | { readonly tag: 'closed' };

export const SLOT_BYTES = 32;
const STATUS_OFFSET = HEADER_BYTES;
/** One call moves at most this much: more gains nothing, less costs calls (measured from 64 KiB to 4 MiB). */
const QUANTUM_BYTES = 1024 * 1024;
/** From here on a system call more for the status costs less than it saves. */
const SPLICED_STATUS_MIN_BYTES = 256 * 1024;
/** Bytes that a socket takes ahead of what is on its way: 4 ms of its measured speed, in these bounds. */
const SEND_AHEAD_BYTES_MIN = 256 * 1024;
const SEND_AHEAD_BYTES_MAX = 4 * 1024 * 1024;
const SEND_AHEAD_SECONDS = 0.004;
/** After a refusal the peer may still be sending a body; reading a little of it keeps the status from being reset away. */
export const DRAIN_BYTES: number = 64 * 1024;
const DRAIN_LIMIT_BYTES = 16 * 1024 * 1024;

export class ServerConnection implements Channel {
  readonly fd: number;
  readonly slot: number;
  readonly #context: ServerContext;
  #state: State = { tag: 'header', receivedBytes: 0 };
  #readable = true;
  #writable = true;
  #lastProgressMs: number = performance.now();
  #servedRequests = 0;
  #sendAheadBytes = SEND_AHEAD_BYTES_MIN;
  /** What the rate limits let this connection move; undefined: anything. */
  readonly #upload: Allowance | undefined;
  readonly #download: Allowance | undefined;

  constructor(fd: number, slot: number, context: ServerContext) {
    this.fd = fd;
    this.slot = slot;
    this.#context = context;
    const wake = (): void => context.reactor.wake(this);
    this.#upload = Allowance.of(context.upload, wake);
    this.#download = Allowance.of(context.download, wake);
    setSendAhead(fd, SEND_AHEAD_BYTES_MIN);
  }

  /** Whether it waits between requests, so that it may be closed to make room. */
  get isIdle(): boolean {
    return this.#state.tag === 'header' && this.#state.receivedBytes === 0;
  }

  get isClosed(): boolean {
    return this.#state.tag === 'closed';
  }

  get lastProgressMs(): number {
    return this.#lastProgressMs;
  }

  onReady(readable: boolean, writable: boolean): void {
    if (readable) this.#readable = true;
    if (writable) this.#writable = true;
  }

  step(): boolean {
    switch (this.#state.tag) {
      case 'header':
        return this.#readable && this.#readHeader(this.#state);
      case 'sending':
        return this.#writable && this.#send(this.#state);
      case 'receiving':
        return this.#readable && this.#receiveBody(this.#state);
      case 'draining':
        return this.#readable && this.#drain(this.#state);
      case 'closed':
        return false;
    }
  }

  #readHeader(state: Extract<State, { tag: 'header' }>): boolean {
    const at = this.#context.slots.address + this.slot + state.receivedBytes;
    const count = receive(this.fd, at, HEADER_BYTES - state.receivedBytes, 0);
    if (count <= 0) return this.#onNoBytes(count);
    if (state.receivedBytes === 0) this.#lastProgressMs = performance.now();
    state.receivedBytes += count;
    if (state.receivedBytes === HEADER_BYTES) this.#serve();
    return true;
  }

  #serve(): void {
    const { ranges, slots, load } = this.#context;
    const { opcode, version, lengthBytes, address, refuseWhen } = decodeHeader(slots, this.slot);
    const range = ranges.containing(address, lengthBytes);
    const isAllowed = range !== undefined && (opcode === 'read' ? range.isReadable : range.isWritable);
    this.#lastProgressMs = performance.now();
    this.#servedRequests += 1;
    if (!isAllowed) {
      if (version === 1) {
        this.close();
        return;
      }
      this.#answer('rejected');
    } else if (opcode === 'write') {
      this.#state = { tag: 'receiving', address, leftBytes: lengthBytes, range, hasStatus: version === 2 };
    } else {
      const nowMs = systemClock.nowMs();
      const refusal = refuseWhen === undefined ? undefined : load.refusal(address, refuseWhen, nowMs);
      if (refusal === undefined) this.#beginPayload(range, version, address, lengthBytes, nowMs);
      else this.#answer(refusal);
    }
  }

  /** Sends a status and no payload. */
  #answer(status: Status): void {
    encodeStatus(this.#context.slots, this.slot + STATUS_OFFSET, status);
    this.#state = {
      tag: 'sending',
      statusLeftBytes: STATUS_BYTES,
      address: 0,
      leftBytes: 0,
      range: undefined,
      countedBytes: 0,
      endsConnection: status === 'rejected',
    };
  }

  #beginPayload(
    range: RegisteredRange,
    version: FramingVersion,
    address: number,
    lengthBytes: number,
    nowMs: number,
  ): void {
    const { load, slots } = this.#context;
    encodeStatus(slots, this.slot + STATUS_OFFSET, 'ok');
    load.begin(address, lengthBytes, nowMs);
    this.#state = {
      tag: 'sending',
      statusLeftBytes: version === 2 ? STATUS_BYTES : 0,
      address,
      leftBytes: lengthBytes,
      range,
      countedBytes: lengthBytes,
      endsConnection: false,
    };
  }

  #send(state: Extract<State, { tag: 'sending' }>): boolean {
    const { okStatus } = this.#context;
    const isSpliced = state.statusLeftBytes > 0 && state.leftBytes >= SPLICED_STATUS_MIN_BYTES;
    const isStatusAlone = isSpliced || state.leftBytes === 0;
    const payloadBytes = isStatusAlone ? 0 : this.#allowed(this.#upload, state);
    if (!isStatusAlone && payloadBytes === 0) return false;
    const count = isSpliced
      ? okStatus.send(this.fd, STATUS_BYTES - state.statusLeftBytes)
      : this.#sendParts(state.statusLeftBytes, state.address, payloadBytes);
    if (count < 0) return this.#onSendFailed(state.range);
    const statusBytes = Math.min(count, state.statusLeftBytes);
    state.statusLeftBytes -= statusBytes;
    state.address += count - statusBytes;
    state.leftBytes -= count - statusBytes;
    this.#upload?.use(count - statusBytes);
    this.#lastProgressMs = performance.now();
    if (state.statusLeftBytes > 0 || state.leftBytes > 0) return true;
    if (state.countedBytes > 0) this.#endPayload(state.countedBytes);
    if (state.endsConnection) {
      shutdownWrites(this.fd);
      this.#state = { tag: 'draining', leftBytes: DRAIN_LIMIT_BYTES };
    } else {
      this.#state = { tag: 'header', receivedBytes: 0 };
    }
    return true;
  }

  /** The kernel has all of it, and keeps little of it back: see {@link setSendAhead}. */
  #endPayload(bytes: number): void {
    this.#context.load.end(bytes);
    if (bytes >= SEND_AHEAD_BYTES_MIN) this.#adjustSendAhead();
  }

  /**
   * What lies in a socket waits there for its turn on the link, and no load tells of it. So little is let in ahead, as
   * little as the speed of the connection allows.
   */
  #adjustSendAhead(): void {
    const wanted = Math.min(deliveryRate(this.fd) * SEND_AHEAD_SECONDS, SEND_AHEAD_BYTES_MAX);
    const bytes = Math.max(wanted, SEND_AHEAD_BYTES_MIN);
    if (bytes > this.#sendAheadBytes / 2 && bytes < this.#sendAheadBytes * 2) return;
    this.#sendAheadBytes = bytes;
    setSendAhead(this.fd, bytes);
  }

  #sendParts(statusBytes: number, address: number, payloadBytes: number): number {
    const { message, slots } = this.#context;
    message.reset();
    if (statusBytes > 0) {
      message.push(slots.address + this.slot + STATUS_OFFSET + STATUS_BYTES - statusBytes, statusBytes);
    }
    if (payloadBytes > 0) message.push(address, payloadBytes);
    return sendMessage(this.fd, message.address, MSG_NOSIGNAL);
  }

  #onSendFailed(range: RegisteredRange | undefined): boolean {
    const code = errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#writable = false;
      return false;
    }
    if (code === EFAULT && range !== undefined) this.#context.onMemoryFault(range);
    this.close();
    return false;
  }

  /** How many payload bytes the limit allows now; 0: this connection will be woken. */
  #allowed(allowance: Allowance | undefined, state: Extract<State, { tag: 'sending' | 'receiving' }>): number {
    const wanted = Math.min(state.leftBytes, QUANTUM_BYTES);
    if (allowance === undefined || state.range === undefined) return wanted;
    return allowance.take(flowOf(state.range), wanted);
  }

  #receiveBody(state: Extract<State, { tag: 'receiving' }>): boolean {
    const wanted = this.#allowed(this.#download, state);
    if (wanted === 0) return false;
    const count = receive(this.fd, state.address, wanted, 0);
    if (count > 0) this.#download?.use(count);
    if (count <= 0) return this.#onNoBytes(count, state.range);
    state.address += count;
    state.leftBytes -= count;
    this.#lastProgressMs = performance.now();
    if (state.leftBytes > 0) return true;
    if (state.hasStatus) this.#answer('ok');
    else this.#state = { tag: 'header', receivedBytes: 0 };
    return true;
  }

  #drain(state: Extract<State, { tag: 'draining' }>): boolean {
    const count = receive(this.fd, this.#context.sink.address, DRAIN_BYTES, 0);
    if (count <= 0) return this.#onNoBytes(count);
    state.leftBytes -= count;
    if (state.leftBytes <= 0) this.close();
    return true;
  }

  /** A receive gave nothing: try again later, or the connection is over. */
  #onNoBytes(count: number, range?: RegisteredRange): boolean {
    const code = count === 0 ? 0 : errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#readable = false;
      return false;
    }
    if (code === EFAULT && range !== undefined) this.#context.onMemoryFault(range);
    this.close();
    return false;
  }

  /** Ends the connection if it is moving bytes of that range, so that the memory is quiet at once. */
  revoke(range: RegisteredRange): void {
    if ((this.#state.tag === 'sending' || this.#state.tag === 'receiving') && this.#state.range === range) this.close();
  }

  checkDeadlines(nowMs: number): void {
    if (this.isIdle && this.#servedRequests > 0) return; // a pooled connection may rest for ever
    if (this.#upload?.isParked === true || this.#download?.isParked === true) this.#lastProgressMs = nowMs; // it is us who wait
    const { headerTimeoutMs, stallTimeoutMs } = this.#context.limits;
    const limitMs = this.#state.tag === 'header' || this.#state.tag === 'draining' ? headerTimeoutMs : stallTimeoutMs;
    if (nowMs - this.#lastProgressMs > limitMs) this.close();
  }

  abandon(): void {
    this.close();
  }

  close(): void {
    if (this.#state.tag === 'closed') return;
    if (this.#state.tag === 'sending') this.#context.load.end(this.#state.countedBytes);
    this.#state = { tag: 'closed' };
    this.#upload?.close();
    this.#download?.close();
    this.#context.reactor.remove(this);
    closeSocket(this.fd);
    this.#context.onClosed(this);
  }
}
