/**
 * One connection to a peer's data port, requests pipelined on it.
 *
 *   submit --> #unsent --header and body sent--> #awaiting --status and payload received--> settled
 *
 * The peer answers in order, so only the head of #awaiting receives. Payload goes from the socket
 * to its address by one system call; several small answers share a call. A request that is
 * cancelled stops writing to its memory at once: what still comes for it falls into a sink, or the
 * connection ends when that would be much.
 */

import { errno, errnoName } from '../../../native/libc.ts';
import { Scratch } from '../../../native/scratch.ts';
import {
  closeSocket,
  EAGAIN,
  EFAULT,
  EINTR,
  MSG_NOSIGNAL,
  receiveMessage,
  sendMessage,
  setReceiveLowWater,
  socketError,
  tuneConnection,
} from '../../../native/sockets.ts';
import { decodeStatus, encodeHeader, type FramingVersion, HEADER_BYTES, type Opcode, STATUS_BYTES } from './framing.ts';
import type { MessageHeader } from './message-header.ts';
import { Outcome } from './messages.ts';
import type { Channel, Reactor } from './reactor.ts';

/** What all outgoing connections of one worker share. */
export interface ClientContext {
  readonly reactor: Reactor;
  readonly message: MessageHeader;
  /** {@link SINK_BYTES} that nobody reads. */
  readonly sink: Scratch;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  onConnected(connection: ClientConnection): void;
  onSettled(requestId: number, outcome: Outcome): void;
  onClosed(connection: ClientConnection, reason: string, wasConnected: boolean): void;
}

export interface ClientRequest {
  readonly id: number;
  readonly opcode: Opcode;
  readonly localAddress: number;
  readonly remoteAddress: number;
  readonly lengthBytes: number;
}

interface Pending extends ClientRequest {
  /** Bytes of header and body that have been sent. */
  sentBytes: number;
  /** Bytes of the status that have been received. */
  statusBytes: number;
  /** Bytes of payload that have been received. */
  payloadBytes: number;
  isCanceled: boolean;
}

/** Parts of one receive; half of them statuses. */
export const MESSAGE_PARTS = 32;
const MAX_HEADERS = 64;
const FRAME_BYTES = MAX_HEADERS * HEADER_BYTES + MESSAGE_PARTS * STATUS_BYTES;
const STATUSES_OFFSET = MAX_HEADERS * HEADER_BYTES;
export const SINK_BYTES: number = 256 * 1024;
const QUANTUM_BYTES = 1024 * 1024;
/** A cancelled answer up to this long is swallowed; more costs less by connecting anew. */
const SWALLOW_BYTES = 1024 * 1024;
/**
 * Wake up for this much at least, when so much is due: one wake-up and one call for many packets.
 * Less than the socket's own buffer, so that the sender never waits for us.
 */
const LOW_WATER_BYTES = 256 * 1024;

export class ClientConnection implements Channel {
  readonly fd: number;
  readonly id: number;
  readonly #version: FramingVersion;
  readonly #context: ClientContext;
  /** Headers about to be sent, then statuses just received: those of the head first. */
  readonly #frames: Scratch = new Scratch(FRAME_BYTES);
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  #unsent: Pending[] = [];
  #awaiting: Pending[] = [];
  /** Bytes that the answers in #awaiting still have to bring. */
  #dueBytes = 0;
  #lowWaterBytes = 1;
  #readable = false;
  #writable = false;
  /** After EFAULT on a shared receive: the next one serves the head alone, so that the fault has a name. */
  #isHeadAlone = false;
  #lastProgressMs: number = performance.now();

  constructor(id: number, fd: number, version: FramingVersion, context: ClientContext) {
    this.id = id;
    this.fd = fd;
    this.#version = version;
    this.#context = context;
  }

  get isBusy(): boolean {
    return this.#awaiting.length > 0 || this.#unsent.length > 0;
  }

  get #isOpen(): boolean {
    return this.#state === 'open';
  }

  submit(request: ClientRequest): void {
    if (this.#state === 'closed') return this.#context.onSettled(request.id, Outcome.Unstarted);
    if (!this.isBusy) this.#lastProgressMs = performance.now();
    this.#unsent.push({ ...request, sentBytes: 0, statusBytes: 0, payloadBytes: 0, isCanceled: false });
    this.#context.reactor.wake(this);
  }

  onReady(readable: boolean, writable: boolean): void {
    if (readable) this.#readable = true;
    if (writable) this.#writable = true;
  }

  step(): boolean {
    if (this.#state === 'closed') return false;
    if (this.#state === 'connecting') return (this.#readable || this.#writable) && this.#finishConnect();
    if (this.#writable && this.#unsent.length > 0 && this.#send()) return true;
    return this.#readable && this.#isOpen && this.#receive();
  }

  #finishConnect(): boolean {
    const code = socketError(this.fd);
    if (code !== 0) {
      this.close(`connect answered ${errnoName(code)}`);
      return false;
    }
    if (!this.#writable) return false;
    tuneConnection(this.fd);
    this.#state = 'open';
    this.#lastProgressMs = performance.now();
    this.#context.onConnected(this);
    return true;
  }

  // --- sending -----------------------------------------------------------------------------------

  #send(): boolean {
    const { message } = this.#context;
    const frames = this.#frames;
    message.reset();
    let headers = 0;
    for (const request of this.#unsent) {
      encodeHeader(frames, headers * HEADER_BYTES, {
        opcode: request.opcode,
        version: this.#version,
        lengthBytes: request.lengthBytes,
        address: request.remoteAddress,
      });
      headers += 1;
      if (request.opcode === 'write' || headers === MAX_HEADERS) break;
    }
    const [head] = this.#unsent;
    if (head === undefined) return false;
    const headerLeft = headers * HEADER_BYTES - Math.min(head.sentBytes, HEADER_BYTES);
    if (headerLeft > 0) message.push(frames.address + headers * HEADER_BYTES - headerLeft, headerLeft);
    const last = this.#unsent[headers - 1];
    if (last?.opcode === 'write') {
      const bodySent = Math.max(0, last.sentBytes - HEADER_BYTES);
      message.push(last.localAddress + bodySent, Math.min(last.lengthBytes - bodySent, QUANTUM_BYTES));
    }
    const count = sendMessage(this.fd, message.address, MSG_NOSIGNAL);
    if (count < 0) return this.#onSendFailed(last);
    this.#lastProgressMs = performance.now();
    this.#countSent(count);
    return true;
  }

  #countSent(count: number): void {
    let left = count;
    let finished = 0;
    for (const request of this.#unsent) {
      const bodyBytes = request.opcode === 'write' ? request.lengthBytes : 0;
      const bytes = Math.min(left, HEADER_BYTES + bodyBytes - request.sentBytes);
      // A refusal may come while the body is still on its way, so a request awaits its answer from its first byte.
      if (request.sentBytes === 0 && bytes > 0) this.#await(request);
      request.sentBytes += bytes;
      left -= bytes;
      if (request.sentBytes < HEADER_BYTES + bodyBytes) break;
      finished += 1;
      if (request.opcode === 'write' && this.#version === 1) this.#settleHeadlessWrite(request);
    }
    this.#unsent.splice(0, finished);
  }

  #await(request: Pending): void {
    this.#awaiting.push(request);
    this.#dueBytes += this.#answerBytes(request);
  }

  #answerBytes(request: Pending): number {
    return (this.#version === 2 ? STATUS_BYTES : 0) + (request.opcode === 'read' ? request.lengthBytes : 0);
  }

  /** Version 1 answers a WRITE with nothing: it counts as done once the kernel has its last byte. */
  #settleHeadlessWrite(request: Pending): void {
    this.#awaiting.splice(this.#awaiting.indexOf(request), 1);
    this.#settle(request, Outcome.Done);
  }

  #onSendFailed(request: Pending | undefined): boolean {
    const code = errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#writable = false;
      return false;
    }
    if (code === EFAULT && request !== undefined) this.#fail(request, Outcome.MemoryFault);
    this.close(`send answered ${errnoName(code)}`);
    return false;
  }

  // --- receiving ---------------------------------------------------------------------------------

  #receive(): boolean {
    this.#gatherParts();
    const count = receiveMessage(this.fd, this.#context.message.address, 0);
    if (count <= 0) return this.#onNoBytes(count);
    this.#lastProgressMs = performance.now();
    this.#isHeadAlone = false;
    this.#dueBytes -= count;
    this.#countReceived(count);
    return this.#isOpen;
  }

  /** Lays out where the next bytes of the stream belong: status, payload, status, payload ... */
  #gatherParts(): void {
    const { message, sink } = this.#context;
    message.reset();
    let room = QUANTUM_BYTES;
    let index = 0;
    for (const request of this.#awaiting) {
      if (room <= 0 || message.isFull || (this.#isHeadAlone && index > 0)) return;
      const statusLeft = this.#version === 2 ? STATUS_BYTES - request.statusBytes : 0;
      if (statusLeft > 0) message.push(this.#statusAddress(index) + request.statusBytes, statusLeft);
      const payloadLeft = request.opcode === 'read' ? request.lengthBytes - request.payloadBytes : 0;
      if (payloadLeft > 0) {
        const limit = request.isCanceled ? Math.min(room, SINK_BYTES) : room;
        const length = Math.min(payloadLeft, limit);
        message.push(request.isCanceled ? sink.address : request.localAddress + request.payloadBytes, length);
        if (length < payloadLeft) return;
        room -= length;
      }
      index += 1;
    }
    // Nothing is due: a byte now would be a breach of the protocol, the end of the stream is not.
    if (message.isEmpty) message.push(sink.address, 1);
  }

  #statusAddress(index: number): number {
    return this.#frames.address + STATUSES_OFFSET + index * STATUS_BYTES;
  }

  #countReceived(count: number): void {
    let left = count;
    let index = 0;
    let finished = 0;
    for (const request of this.#awaiting) {
      if (this.#version === 2 && request.statusBytes < STATUS_BYTES) {
        const bytes = Math.min(left, STATUS_BYTES - request.statusBytes);
        request.statusBytes += bytes;
        left -= bytes;
        if (request.statusBytes < STATUS_BYTES) this.#keepPartialStatus(index, request.statusBytes);
        else if (!this.#isAccepted(request, index)) return;
      }
      if (request.opcode === 'read') {
        const bytes = Math.min(left, request.lengthBytes - request.payloadBytes);
        request.payloadBytes += bytes;
        left -= bytes;
      }
      if (!this.#isAnswered(request)) break;
      finished += 1;
      index += 1;
    }
    const done = this.#awaiting.splice(0, finished);
    for (const request of done) this.#settle(request, Outcome.Done);
    if (left > 0) this.close('the peer sent bytes that nobody asked for');
  }

  /** The request that becomes the head reads on in the first place. */
  #keepPartialStatus(index: number, bytes: number): void {
    if (index === 0) return;
    const from = STATUSES_OFFSET + index * STATUS_BYTES;
    this.#frames.bytes.copyWithin(STATUSES_OFFSET, from, from + bytes);
  }

  #isAnswered(request: Pending): boolean {
    if (this.#version === 2 && request.statusBytes < STATUS_BYTES) return false;
    return request.opcode === 'write' ? this.#version === 2 : request.payloadBytes === request.lengthBytes;
  }

  /** Checks a status that has just become whole; ends the connection when it is not OK. */
  #isAccepted(request: Pending, index: number): boolean {
    const status = decodeStatus(this.#frames, STATUSES_OFFSET + index * STATUS_BYTES);
    const isBodySent = request.opcode === 'read' || request.sentBytes === HEADER_BYTES + request.lengthBytes;
    if (status === 'ok' && isBodySent) return true;
    const done = this.#awaiting.splice(0, this.#awaiting.indexOf(request));
    for (const earlier of done) this.#settle(earlier, Outcome.Done);
    this.#fail(request, status === 'rejected' ? Outcome.Rejected : Outcome.Protocol);
    this.close(status === 'rejected' ? 'the peer refused an address' : 'the peer answered in another framing');
    return false;
  }

  #onNoBytes(count: number): boolean {
    const code = count === 0 ? 0 : errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#readable = false;
      this.#adjustLowWater();
      return false;
    }
    if (code === EFAULT && this.#awaiting.length > 1 && !this.#isHeadAlone) {
      this.#isHeadAlone = true;
      return true;
    }
    const [head] = this.#awaiting;
    if (code === EFAULT && head !== undefined) this.#fail(head, Outcome.MemoryFault);
    this.close(code === 0 ? 'the peer closed the connection' : `receive answered ${errnoName(code)}`);
    return false;
  }

  /** Before waiting: no wake-up for less than is worth one, but never for more than will come. */
  #adjustLowWater(): void {
    const wanted = this.#dueBytes >= LOW_WATER_BYTES ? LOW_WATER_BYTES : 1;
    if (wanted === this.#lowWaterBytes) return;
    this.#lowWaterBytes = wanted;
    setReceiveLowWater(this.fd, wanted);
    // What has arrived meanwhile made no edge under the old mark.
    this.#readable = true;
    this.#context.reactor.wake(this);
  }

  // --- ending ------------------------------------------------------------------------------------

  #settle(request: Pending, outcome: Outcome): void {
    this.#context.onSettled(request.id, request.isCanceled ? Outcome.Canceled : outcome);
  }

  /** Takes one request out and settles it; the connection is about to end. */
  #fail(request: Pending, outcome: Outcome): void {
    this.#awaiting = this.#awaiting.filter((other) => other !== request);
    this.#unsent = this.#unsent.filter((other) => other !== request);
    this.#settle(request, outcome);
  }

  /**
   * Makes the memory of these requests quiet now. Those not sent are dropped; the answers of the
   * others are swallowed, or the connection ends if they are long.
   */
  cancel(ids: ReadonlySet<number>): void {
    const dropped = this.#unsent.filter((request) => ids.has(request.id) && request.sentBytes === 0);
    this.#unsent = this.#unsent.filter((request) => !dropped.includes(request));
    for (const request of dropped) this.#settle(request, Outcome.Canceled);
    let swallowBytes = 0;
    for (const request of this.#awaiting) {
      if (!ids.has(request.id)) continue;
      request.isCanceled = true;
      swallowBytes += request.lengthBytes - request.payloadBytes;
    }
    const isBodyUnderWay = this.#unsent.some((request) => request.isCanceled);
    if (swallowBytes > SWALLOW_BYTES || isBodyUnderWay) this.close('a transfer was cancelled');
  }

  checkDeadlines(nowMs: number): void {
    const silentMs = nowMs - this.#lastProgressMs;
    const { connectTimeoutMs, stallTimeoutMs } = this.#context;
    if (this.#state === 'connecting' && silentMs > connectTimeoutMs) {
      this.close(`no connection after ${connectTimeoutMs} ms`);
    } else if (this.isBusy && this.#state === 'open' && silentMs > stallTimeoutMs) {
      this.close(`no byte for ${stallTimeoutMs} ms`);
    }
  }

  abandon(cause: unknown): void {
    this.close(`a defect: ${String(cause)}`);
  }

  close(reason: string): void {
    if (this.#state === 'closed') return;
    const wasConnected = this.#state === 'open';
    this.#state = 'closed';
    this.#context.reactor.remove(this);
    closeSocket(this.fd);
    const [head, ...waiting] = this.#awaiting;
    const unstarted = this.#unsent.filter((request) => !this.#awaiting.includes(request));
    this.#awaiting = [];
    this.#unsent = [];
    if (head !== undefined) this.#settle(head, Outcome.Disconnected);
    for (const request of [...waiting, ...unstarted]) this.#settle(request, Outcome.Unstarted);
    this.#frames.free();
    this.#context.onClosed(this, reason, wasConnected);
  }
}
