/**
 * One accepted connection of the data port.
 *
 *   serving --WRITE--> receiving --all of it--> serving
 *      '---address refused, v2--> serving, this answer is the last --> draining --> closed;   v1 --> closed
 *
 * While it serves, headers come many at a time, and the answers to many of them leave by one system call. How far it reads ahead is
 * bounded by their payload, so that a large READ waits in the peer's own queue.
 *
 * Invariant: bytes leave or enter only ranges that were registered when the header was looked at, and none
 * after {@link ServerConnection.revoke} of their range. Only system calls touch them.
 */

import { systemClock } from '../../../core/clock.ts';
import { isP2PStoreError } from '../../../core/errors.ts';
import { copyGuarded } from '../../../native/copy.ts';
import { errno } from '../../../native/libc.ts';
import type { Scratch } from '../../../native/scratch.ts';
import {
  closeSocket,
  deliveryRate,
  EAGAIN,
  EFAULT,
  EINTR,
  MSG_NOSIGNAL,
  MSG_PEEK,
  receive,
  receiveMessage,
  sendMessage,
  setSendAhead,
  shutdownWrites,
} from '../../../native/sockets.ts';
import type { SplicedBytes } from '../../../native/spliced-bytes.ts';
import { flowOf, type RegisteredRange, type RegisteredRanges } from '../../registered-ranges.ts';
import type { MovedBytes } from '../../transfer-counts.ts';
import { Allowance } from './allowance.ts';
import { type Answer, AnswerQueue, MAX_ANSWERS } from './answer-queue.ts';
import { HEADER_BYTES, type Header, STATUS_BYTES, type Status } from './framing.ts';
import { HEADER_BUFFER_BYTES, HeaderBuffer } from './header-buffer.ts';
import type { MessageHeader } from './message-header.ts';
import type { Pacer } from './pacer.ts';
import type { Channel, Reactor } from './reactor.ts';
import type { SendLoad } from './send-load.ts';

/** What all connections of one worker share. */
export interface ServerContext {
  readonly reactor: Reactor;
  readonly ranges: RegisteredRanges;
  /** One slot of {@link SLOT_BYTES} a connection, for the headers that it has received. */
  readonly slots: Scratch;
  /** Where the bytes of a status are. */
  readonly statusAddress: (status: Status) => number;
  readonly load: SendLoad;
  /** Payload that peers have taken or brought since the worker started. */
  readonly served: MovedBytes;
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
  | { readonly tag: 'serving' }
  | {
      readonly tag: 'receiving';
      address: number;
      leftBytes: number;
      readonly range: RegisteredRange;
      readonly hasStatus: boolean;
    }
  | { readonly tag: 'draining'; leftBytes: number }
  | { readonly tag: 'closed' };

const SERVING: State = { tag: 'serving' };
/** Whose first request is for less, and alone, is one that waits for each answer. */
const BULK_BYTES = 256 * 1024;
export const SLOT_BYTES: number = HEADER_BUFFER_BYTES;
/** One call moves at most this much: more gains nothing, less costs calls (measured from 64 KiB to 4 MiB). */
const QUANTUM_BYTES = 1024 * 1024;
/** From here on a system call more for the status costs less than it saves, though no other answer shares a call then. */
const SPLICED_STATUS_MIN_BYTES = 256 * 1024;
/** The same where no other answer waits, as for a peer that asks again only when it has its answer. */
const LONE_SPLICED_STATUS_MIN_BYTES = 32 * 1024;
/** Bytes that a socket takes ahead of what is on its way: 4 ms of its measured speed, in these bounds. */
const SEND_AHEAD_BYTES_MIN = 256 * 1024;
const SEND_AHEAD_BYTES_MAX = 4 * 1024 * 1024;
const SEND_AHEAD_SECONDS = 0.004;
/** A call that stopped at memory that is gone, after it had moved some, is followed by no readiness: it is tried again then. */
const RETRY_AFTER_MS = 200;
/** After a refusal the peer may still be sending a body; reading a little of it keeps the status from being reset away. */
export const DRAIN_BYTES: number = 64 * 1024;
const DRAIN_LIMIT_BYTES = 16 * 1024 * 1024;

export class ServerConnection implements Channel {
  readonly fd: number;
  readonly slot: number;
  readonly #context: ServerContext;
  #state: State = SERVING;
  readonly #headers: HeaderBuffer;
  readonly #answers: AnswerQueue;
  /** An address was refused: what is queued are the last answers. */
  #isEnding = false;
  /** Until the first request has been seen. */
  #deal: ((fd: number) => void) | undefined;
  /** Its body follows a WRITE, so headers are asked for one by one. */
  #isWriting = false;
  /** After EFAULT on a shared send: the next one serves the head alone, so that the fault has a name. */
  #isHeadAlone = false;
  #readable = true;
  #writable = true;
  #lastProgressMs: number = performance.now();
  #servedRequests = 0;
  #sendAheadBytes = SEND_AHEAD_BYTES_MIN;
  /** What the rate limits let this connection move; undefined: anything. */
  readonly #upload: Allowance | undefined;
  readonly #download: Allowance | undefined;

  /** @param deal - Takes the socket, before a byte of it is taken, when its first request is not a small one that comes alone. */
  constructor(fd: number, slot: number, context: ServerContext, deal?: (fd: number) => void) {
    this.#deal = deal;
    this.fd = fd;
    this.slot = slot;
    this.#context = context;
    this.#headers = new HeaderBuffer(context.slots, slot);
    this.#answers = new AnswerQueue(context.statusAddress);
    const wake = (): void => context.reactor.wake(this);
    this.#upload = Allowance.of(context.upload, wake);
    this.#download = Allowance.of(context.download, wake);
    setSendAhead(fd, SEND_AHEAD_BYTES_MIN);
  }

  /** Whether it waits between requests, so that it may be closed to make room. */
  get isIdle(): boolean {
    return this.#state.tag === 'serving' && this.#headers.lengthBytes === 0 && this.#answers.length === 0;
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
      case 'serving':
        return this.#serve();
      case 'receiving':
        return this.#readable ? this.#receiveBody(this.#state) : this.#flush();
      case 'draining':
        return this.#readable && this.#drain(this.#state);
      case 'closed':
        return false;
    }
  }

  #serve(): boolean {
    const isIdle = this.#answers.length === 0 && !this.#headers.hasHeader;
    if (isIdle && this.#deal !== undefined && this.#readable && this.#isDealt(this.#deal)) return false;
    if (isIdle && !(this.#readable && this.#readHeaders())) return false;
    this.#lookAtHeaders();
    if (this.#state !== SERVING) return this.#state.tag === 'receiving';
    return this.#answers.length > 0 ? this.#flush() : this.#readable;
  }

  #isDealt(deal: (fd: number) => void): boolean {
    const count = receive(this.fd, this.#headers.fillAddress, 2 * HEADER_BYTES, MSG_PEEK);
    if (count <= 0) return false;
    this.#deal = undefined;
    if (count < HEADER_BYTES) return false;
    this.#headers.fill(count);
    const { opcode, lengthBytes } = this.#headers.peek();
    this.#headers.clear();
    if (opcode === 'read' && lengthBytes < BULK_BYTES && count === HEADER_BYTES) return false;
    this.#leave();
    deal(this.fd);
    return true;
  }

  #readHeaders(): boolean {
    const wasEmpty = this.#headers.lengthBytes === 0;
    const { fillAddress } = this.#headers;
    // What is read of a body has to be copied to its place, and escapes the limit.
    const isOneHeader = this.#isWriting || this.#download !== undefined;
    const count = receive(this.fd, fillAddress, this.#headers.roomBytes(isOneHeader), 0);
    if (count <= 0) return this.#onNoBytes(count);
    this.#headers.fill(count);
    if (wasEmpty || this.#headers.hasHeader) this.#lastProgressMs = performance.now();
    return true;
  }

  /** Queues the answers to headers that are here, as many as one send takes, or begins to receive the body of a WRITE. */
  #lookAtHeaders(): void {
    while (this.#state === SERVING && this.#headers.hasHeader && !this.#isEnding) {
      if (this.#answers.length === MAX_ANSWERS || this.#answers.payloadBytes >= QUANTUM_BYTES) return;
      const header = this.#headers.peek();
      const range = this.#allowedRange(header);
      const mustWait = header.opcode === 'write' || (range === undefined && header.version === 1);
      if (mustWait && this.#answers.payloadBytes > 0) return;
      this.#headers.take(HEADER_BYTES);
      this.#servedRequests += 1;
      this.#isWriting = header.opcode === 'write';
      if (range === undefined) this.#refuse(header);
      else if (header.opcode === 'read') this.#answerRead(header, range);
      else this.#beginBody(header, range);
    }
  }

  #allowedRange({ opcode, address, lengthBytes }: Header): RegisteredRange | undefined {
    const range = this.#context.ranges.containing(address, lengthBytes);
    const isAllowed = range !== undefined && (opcode === 'read' ? range.isReadable : range.isWritable);
    return isAllowed ? range : undefined;
  }

  #refuse({ version }: Header): void {
    if (version === 1) {
      this.close();
      return;
    }
    this.#answer('rejected');
    this.#isEnding = true;
    this.#headers.clear();
  }

  #answerRead(header: Header, range: RegisteredRange): void {
    const { load } = this.#context;
    const { version, lengthBytes, address, refuseWhen } = header;
    const nowMs = systemClock.nowMs();
    const refusal = refuseWhen === undefined ? undefined : load.refusal(address, refuseWhen, nowMs);
    if (refusal !== undefined) {
      this.#answer(refusal);
      return;
    }
    load.begin(address, lengthBytes, nowMs);
    this.#answers.push({
      status: 'ok',
      statusLeftBytes: version === 2 ? STATUS_BYTES : 0,
      address,
      leftBytes: lengthBytes,
      range,
      countedBytes: lengthBytes,
    });
  }

  /** A status and no payload. */
  #answer(status: Status): void {
    const nothing = { address: 0, leftBytes: 0, range: undefined, countedBytes: 0 };
    this.#answers.push({ status, statusLeftBytes: STATUS_BYTES, ...nothing });
  }

  // --- sending -----------------------------------------------------------------------------------

  #flush(): boolean {
    const { head } = this.#answers;
    return head !== undefined && this.#writable && this.#send(head);
  }

  #send(head: Answer): boolean {
    const { okStatus } = this.#context;
    const splicedMinBytes = this.#answers.length === 1 ? LONE_SPLICED_STATUS_MIN_BYTES : SPLICED_STATUS_MIN_BYTES;
    const isSpliced = head.statusLeftBytes === STATUS_BYTES && head.leftBytes >= splicedMinBytes;
    const allowedBytes = isSpliced ? 0 : this.#allowedToSend(head);
    if (!isSpliced && allowedBytes === 0) return false;
    const count = isSpliced ? okStatus.send(this.fd) : this.#sendParts(allowedBytes);
    if (count < 0) return this.#onSendFailed(head);
    if (!isSpliced && count < this.#context.message.lengthBytes) this.#writable = false;
    this.#isHeadAlone = false;
    this.#upload?.use(Math.max(0, count - head.statusLeftBytes));
    this.#answers.countSent(count, this.#onAnswerSent);
    this.#lastProgressMs = performance.now();
    if (this.#isEnding && this.#answers.length === 0) {
      shutdownWrites(this.fd);
      this.#state = { tag: 'draining', leftBytes: DRAIN_LIMIT_BYTES };
    }
    return true;
  }

  /** How many payload bytes may leave now; 0 while there are some: this connection will be woken. */
  #allowedToSend({ range, leftBytes }: Answer): number {
    if (this.#upload === undefined || range === undefined || leftBytes === 0) return QUANTUM_BYTES;
    return this.#upload.take(flowOf(range), Math.min(leftBytes, QUANTUM_BYTES));
  }

  #sendParts(maxBytes: number): number {
    const { message } = this.#context;
    const maxAnswers = this.#isHeadAlone || this.#upload !== undefined ? 1 : MAX_ANSWERS;
    message.reset();
    this.#answers.gather(message, { maxAnswers, maxBytes, aloneBytes: SPLICED_STATUS_MIN_BYTES });
    return sendMessage(this.fd, message.address, MSG_NOSIGNAL);
  }

  readonly #onAnswerSent = ({ countedBytes }: Answer): void => {
    if (countedBytes > 0) this.#endPayload(countedBytes);
  };

  /** The kernel has all of it, and keeps little of it back: see {@link setSendAhead}. */
  #endPayload(bytes: number): void {
    this.#context.load.end(bytes);
    this.#context.served.read += bytes;
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

  #onSendFailed({ range }: Answer): boolean {
    const code = errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#writable = false;
      return false;
    }
    if (code === EFAULT && this.#answers.length > 1 && !this.#isHeadAlone) {
      this.#isHeadAlone = true;
      return true;
    }
    if (code === EFAULT && range !== undefined) this.#context.onMemoryFault(range);
    this.close();
    return false;
  }

  // --- receiving ---------------------------------------------------------------------------------

  #beginBody({ version, lengthBytes, address }: Header, range: RegisteredRange): void {
    const hereBytes = Math.min(lengthBytes, this.#headers.lengthBytes);
    try {
      copyGuarded(this.#headers.address, address, hereBytes);
    } catch (cause) {
      if (isP2PStoreError(cause, 'P2P_MEMORY_FAULT')) this.#context.onMemoryFault(range);
      this.close();
      return;
    }
    this.#headers.take(hereBytes);
    this.#context.served.write += hereBytes;
    const leftBytes = lengthBytes - hereBytes;
    this.#state = { tag: 'receiving', address: address + hereBytes, leftBytes, range, hasStatus: version === 2 };
    if (leftBytes === 0) this.#endBody(version === 2);
  }

  /** Brings the header behind the body too: many small WRITEs cost a call each. */
  #receiveBody(state: Extract<State, { tag: 'receiving' }>): boolean {
    const { message } = this.#context;
    const wanted = Math.min(state.leftBytes, QUANTUM_BYTES);
    const allowed = this.#download?.take(flowOf(state.range), wanted) ?? wanted;
    if (allowed === 0) return this.#flush();
    message.reset();
    message.push(state.address, allowed);
    if (allowed === state.leftBytes) message.push(this.#headers.fillAddress, HEADER_BYTES);
    const count = receiveMessage(this.fd, message.address, 0);
    if (count <= 0) return this.#onNoBytes(count, state.range);
    const bodyBytes = Math.min(count, state.leftBytes);
    this.#download?.use(bodyBytes);
    this.#context.served.write += bodyBytes;
    this.#headers.fill(count - bodyBytes);
    state.address += bodyBytes;
    state.leftBytes -= bodyBytes;
    this.#lastProgressMs = performance.now();
    if (state.leftBytes === 0) this.#endBody(state.hasStatus);
    return true;
  }

  #endBody(hasStatus: boolean): void {
    this.#state = SERVING;
    if (hasStatus) this.#answer('ok');
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
      return this.#answers.length > 0; // statuses of earlier WRITEs
    }
    if (code === EFAULT && range !== undefined) this.#context.onMemoryFault(range);
    this.close();
    return false;
  }

  /** Ends the connection if it is moving bytes of that range, so that the memory is quiet at once. */
  revoke(range: RegisteredRange): void {
    const isReceiving = this.#state.tag === 'receiving' && this.#state.range === range;
    if (isReceiving || this.#answers.uses(range)) this.close();
  }

  checkDeadlines(nowMs: number): void {
    if (this.isIdle && this.#servedRequests > 0) return; // a pooled connection may rest for ever
    if (this.#upload?.isParked === true || this.#download?.isParked === true) this.#lastProgressMs = nowMs; // it is us who wait
    const { headerTimeoutMs, stallTimeoutMs } = this.#context.limits;
    const isMoving = this.#state.tag === 'receiving' || this.#answers.length > 0;
    const limitMs = isMoving ? stallTimeoutMs : headerTimeoutMs;
    const silentMs = nowMs - this.#lastProgressMs;
    if (silentMs > limitMs) this.close();
    else if (isMoving && silentMs > RETRY_AFTER_MS) this.#retry();
  }

  #retry(): void {
    this.#readable = true;
    this.#writable = true;
    this.#context.reactor.wake(this);
  }

  abandon(): void {
    this.close();
  }

  close(): void {
    if (this.#state.tag === 'closed') return;
    this.#leave();
    closeSocket(this.fd);
  }

  /** Gives up all but the socket. */
  #leave(): void {
    for (const { countedBytes } of this.#answers.clear()) if (countedBytes > 0) this.#context.load.end(countedBytes);
    this.#state = { tag: 'closed' };
    this.#upload?.close();
    this.#download?.close();
    this.#context.reactor.remove(this);
    this.#context.onClosed(this);
  }
}
