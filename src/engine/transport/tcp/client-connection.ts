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
  discardOnClose,
  EAGAIN,
  EFAULT,
  EINTR,
  isSameHost,
  MSG_NOSIGNAL,
  receiveMessage,
  roundTripMs,
  sendMessage,
  setReceiveLowWater,
  setReceiveWindow,
  socketError,
  tuneConnection,
} from '../../../native/sockets.ts';
import { Allowance } from './allowance.ts';
import { AskQueue } from './ask-queue.ts';
import { decodeStatus, encodeHeader, type FramingVersion, HEADER_BYTES, STATUS_BYTES } from './framing.ts';
import type { MessageHeader } from './message-header.ts';
import { type ConnectionEnd, Outcome } from './messages.ts';
import type { Pacer } from './pacer.ts';
import { type ClientRequest, PendingRequest } from './pending-request.ts';
import type { Channel, Reactor } from './reactor.ts';

/** What all outgoing connections of one worker share. */
export interface ClientContext {
  readonly reactor: Reactor;
  readonly message: MessageHeader;
  /** {@link SINK_BYTES} that nobody reads. */
  readonly sink: Scratch;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  /** What all its connections together bring at most; undefined: there is no telling. */
  readonly bytesPerMsMax?: number | undefined;
  /** Undefined: no limit. */
  readonly upload: Pacer | undefined;
  readonly download: Pacer | undefined;
  onConnected(connection: ClientConnection): void;
  onSettled(requestId: number, outcome: Outcome, digest?: Uint8Array): void;
  /** It has done all that it was asked. */
  onIdle(): void;
  /** Of a READ that takes long. */
  onProgress(requestId: number, payloadBytes: number): void;
  onSilent(connection: ClientConnection, silentMs: number): void;
  onAnswered(connection: ClientConnection): void;
  onClosed(connection: ClientConnection, reason: string, end: ConnectionEnd): void;
}

/** How long one connection waits where that differs from the others of its worker. */
export interface Patience {
  readonly connectTimeoutMs?: number | undefined;
  /** After so long without a byte that is due it says so. */
  readonly silenceMs?: number | undefined;
}

/** Answers that one receive may take; each is a status and a payload. */
const MAX_ANSWERS = 64;
export const MESSAGE_PARTS: number = 2 * MAX_ANSWERS;
const MAX_HEADERS = 64;
const FRAME_BYTES = MAX_HEADERS * HEADER_BYTES + MAX_ANSWERS * STATUS_BYTES;
const STATUSES_OFFSET = MAX_HEADERS * HEADER_BYTES;
export const SINK_BYTES: number = 256 * 1024;
const QUANTUM_BYTES = 1024 * 1024;
/** Of what is digested right after: with the sender's half of the copy it has to fit into a core's own cache. */
const DIGESTED_QUANTUM_BYTES = 256 * 1024;
/** A cancelled answer up to this long is swallowed; more costs less by connecting anew. */
const SWALLOW_BYTES = 1024 * 1024;
/**
 * Wake up for this much, or for all that is due when that is less: one wake-up and one call for many packets.
 * Less than the socket's own buffer, so that the sender never waits for us.
 */
const LOW_WATER_BYTES = 256 * 1024;
/**
 * Where not much is to come over many connections at once, no one's window is larger than it takes. What all peers together may send
 * ahead would else overflow the queue of this host's link, and be sent again.
 */
const WINDOW_BYTES_MIN = 96 * 1024;
/** Of a window: before it is full the peer is to hear that there is room again. */
const LOW_WATER_SHARE = 0.75;
/**
 * After this time without a byte that is due the socket is asked for what there is: some may wait below the low-water mark, a
 * call that stopped at memory that is gone may have left some, or this process was stopped and has not looked yet.
 */
const PROBE_AFTER_MS = 200;
/** An older answer says nothing: this process may have been stopped since. */
const PROBED_LATELY_MS = 1000;

export class ClientConnection implements Channel {
  readonly fd: number;
  readonly id: number;
  readonly #version: FramingVersion;
  readonly #context: ClientContext;
  readonly #patience: Patience;
  /** Headers about to be sent, then statuses just received: those of the head first. */
  readonly #frames: Scratch = new Scratch(FRAME_BYTES);
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  /** READs that the download limit holds back; undefined: there is none. */
  readonly #held: AskQueue | undefined;
  /** What the upload limit lets a WRITE send; undefined: anything. */
  readonly #upload: Allowance | undefined;
  #unsent: PendingRequest[] = [];
  #awaiting: PendingRequest[] = [];
  /** Bytes that the answers in #awaiting still have to bring. */
  #dueBytes = 0;
  #lowWaterBytes = 1;
  #lowWaterBytesMax = LOW_WATER_BYTES;
  #readable = false;
  #writable = false;
  /** After EFAULT on a shared receive: the next one serves the head alone, so that the fault has a name. */
  #isHeadAlone = false;
  #hasAnswered = false;
  #probedMs = Number.NEGATIVE_INFINITY;
  #lastProgressMs: number = performance.now();

  constructor(id: number, fd: number, version: FramingVersion, context: ClientContext, patience: Patience = {}) {
    this.id = id;
    this.fd = fd;
    this.#version = version;
    this.#context = context;
    this.#patience = patience;
    const wake = (): void => context.reactor.wake(this);
    this.#held = context.download === undefined ? undefined : new AskQueue(context.download, wake);
    this.#upload = Allowance.of(context.upload, wake);
  }

  get isBusy(): boolean {
    return this.#awaiting.length > 0 || this.#unsent.length > 0;
  }

  get #isOpen(): boolean {
    return this.#state === 'open';
  }

  submit(request: ClientRequest): void {
    if (this.#state === 'closed') {
      this.#context.onSettled(request.id, Outcome.Unstarted);
      return;
    }
    const pending = new PendingRequest(request, this.#version);
    if (this.#held !== undefined && request.opcode === 'read') this.#held.push(pending);
    else this.#enqueue(pending);
    this.#context.reactor.wake(this);
  }

  #enqueue(request: PendingRequest): void {
    if (!this.isBusy) this.#noteProgress();
    this.#unsent.push(request);
  }

  onReady(readable: boolean, writable: boolean): void {
    if (readable) this.#readable = true;
    if (writable) this.#writable = true;
  }

  step(): boolean {
    if (this.#state === 'closed') return false;
    if (this.#state === 'connecting') return (this.#readable || this.#writable) && this.#finishConnect();
    if (this.#held?.isEmpty === false) for (const request of this.#held.admit()) this.#enqueue(request);
    if (this.#writable && this.#unsent.length > 0 && this.#send()) return true;
    return this.#readable && this.#isOpen && this.#receive();
  }

  #finishConnect(): boolean {
    const code = socketError(this.fd);
    if (code !== 0) {
      this.close(`connect answered ${errnoName(code)}`, 'refused');
      return false;
    }
    if (!this.#writable) return false;
    tuneConnection(this.fd);
    this.#limitWindow();
    this.#state = 'open';
    this.#noteProgress();
    this.#context.onConnected(this);
    return true;
  }

  #limitWindow(): void {
    const { bytesPerMsMax } = this.#context;
    if (bytesPerMsMax === undefined || isSameHost(this.fd)) return;
    const tripMs = roundTripMs(this.fd);
    if (tripMs === undefined) return;
    const windowBytes = Math.max(WINDOW_BYTES_MIN, Math.ceil(2 * tripMs * bytesPerMsMax));
    setReceiveWindow(this.fd, windowBytes);
    this.#lowWaterBytesMax = Math.min(LOW_WATER_BYTES, windowBytes * LOW_WATER_SHARE);
  }

  // --- sending -----------------------------------------------------------------------------------

  #send(): boolean {
    const last = this.#gatherHeaders();
    if (this.#context.message.isEmpty) return false; // the upload limit holds a body back
    const count = sendMessage(this.fd, this.#context.message.address, MSG_NOSIGNAL);
    if (count < 0) return this.#onSendFailed(last);
    this.#noteProgress();
    if (count < this.#context.message.lengthBytes) this.#writable = false;
    this.#countSent(count);
    return true;
  }

  /** Lays out the headers of as many READs as wait, or up to the first WRITE with its body. Returns the last. */
  #gatherHeaders(): PendingRequest | undefined {
    const { message } = this.#context;
    message.reset();
    let headers = 0;
    let last: PendingRequest | undefined;
    for (const pending of this.#unsent) {
      const { opcode, lengthBytes, remoteAddress, refuseWhen } = pending.request;
      const header = { opcode, version: this.#version, lengthBytes, address: remoteAddress, refuseWhen };
      encodeHeader(this.#frames, headers * HEADER_BYTES, header);
      headers += 1;
      last = pending;
      if (opcode === 'write' || headers === MAX_HEADERS) break;
    }
    const sentOfHead = Math.min(this.#unsent[0]?.sentBytes ?? 0, HEADER_BYTES);
    const headerBytes = headers * HEADER_BYTES - sentOfHead;
    if (headerBytes > 0) message.push(this.#frames.address + sentOfHead, headerBytes);
    if (last?.request.opcode === 'write') {
      const bodySent = Math.max(0, last.sentBytes - HEADER_BYTES);
      const length = Math.min(last.request.lengthBytes - bodySent, QUANTUM_BYTES);
      const allowed = this.#upload?.take(last.request.flow, length) ?? length;
      if (allowed > 0) message.push(last.request.localAddress + bodySent, allowed);
    }
    return last;
  }

  #countSent(count: number): void {
    let left = count;
    let finished = 0;
    for (const request of this.#unsent) {
      const bytes = Math.min(left, request.requestBytes - request.sentBytes);
      if (request.request.opcode === 'write') this.#upload?.use(request.bodyBytes(bytes));
      // A refusal may come while the body is still on its way, so a request awaits its answer from its first byte.
      if (request.sentBytes === 0 && bytes > 0 && request.hasAnswer) {
        this.#awaiting.push(request);
        this.#dueBytes += request.certainLeftBytes;
      }
      request.sentBytes += bytes;
      left -= bytes;
      if (!request.isSent) break;
      finished += 1;
    }
    const sent = this.#unsent.splice(0, finished);
    // A WRITE of version 1 counts as done once the kernel has its last byte.
    for (const request of sent) if (!request.hasAnswer) this.#settle(request, Outcome.Done);
  }

  #onSendFailed(request: PendingRequest | undefined): boolean {
    const code = errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#writable = false;
      return false;
    }
    if (code === EFAULT && request !== undefined) this.#fail(request, Outcome.MemoryFault);
    this.close(`send answered ${errnoName(code)}`, code === EFAULT ? 'closed' : 'lost');
    return false;
  }

  // --- receiving ---------------------------------------------------------------------------------

  #receive(): boolean {
    this.#gatherParts();
    const { message } = this.#context;
    const count = receiveMessage(this.fd, message.address, 0);
    if (count <= 0) return this.#onNoBytes(count);
    const isAll = count === message.lengthBytes;
    this.#noteProgress();
    if (!this.#hasAnswered) {
      this.#hasAnswered = true;
      this.#context.onAnswered(this);
    }
    this.#isHeadAlone = false;
    this.#dueBytes -= count;
    this.#countReceived(count);
    if (!this.#isOpen) return false;
    if (!isAll) this.#waitForBytes();
    return this.#readable;
  }

  /** Lays out where the next bytes of the stream belong: status, payload, status, payload ... */
  #gatherParts(): void {
    const { message, sink } = this.#context;
    message.reset();
    const maxAnswers = this.#isHeadAlone ? 1 : MAX_ANSWERS;
    let room = this.#awaiting[0]?.request.digest === undefined ? QUANTUM_BYTES : DIGESTED_QUANTUM_BYTES;
    let index = 0;
    for (const request of this.#awaiting) {
      if (room <= 0 || index === maxAnswers) return;
      const { statusLeftBytes, payloadLeftBytes } = request;
      if (statusLeftBytes > 0) message.push(this.#statusAddress(index) + request.receivedStatusBytes, statusLeftBytes);
      if (request.isUndecided) return;
      const length = payloadLeftBytes > 0 ? this.#pushPayload(request, room) : 0;
      if (length < payloadLeftBytes) return;
      room -= length;
      index += 1;
    }
    // Nothing is due: a byte now would be a breach of the protocol, the end of the stream is not.
    if (message.isEmpty) message.push(sink.address, 1);
  }

  /** What still comes for a cancelled request falls into the sink. */
  #pushPayload({ isCanceled, payloadAddress, payloadLeftBytes }: PendingRequest, room: number): number {
    const { message, sink } = this.#context;
    const length = Math.min(payloadLeftBytes, room, isCanceled ? SINK_BYTES : room);
    message.push(isCanceled ? sink.address : payloadAddress, length);
    return length;
  }

  #statusAddress(index: number): number {
    return this.#frames.address + STATUSES_OFFSET + index * STATUS_BYTES;
  }

  #countReceived(count: number): void {
    let left = count;
    let finished = 0;
    for (const request of this.#awaiting) {
      const wasUndecided = request.isUndecided;
      const statusBytes = request.takeStatus(left);
      left -= statusBytes;
      if (request.statusLeftBytes > 0) this.#keepPartialStatus(finished, request.receivedStatusBytes);
      else if (statusBytes > 0 && !this.#isAccepted(request, finished)) return;
      if (wasUndecided && !request.isUndecided) this.#dueBytes += request.payloadLeftBytes;
      left -= request.takePayload(left);
      if (request.answerLeftBytes > 0) break;
      finished += 1;
    }
    const done = this.#awaiting.splice(0, finished);
    for (const request of done) this.#settle(request, outcomeOf(request));
    if (!this.isBusy) this.#context.onIdle();
    if (left > 0) this.close('the peer sent bytes that nobody asked for', 'lost');
  }

  /** The request that becomes the head reads on in the first place. */
  #keepPartialStatus(index: number, bytes: number): void {
    if (index === 0) return;
    const from = STATUSES_OFFSET + index * STATUS_BYTES;
    this.#frames.bytes.copyWithin(STATUSES_OFFSET, from, from + bytes);
  }

  /** Checks a status that has just become whole; ends the connection when it is not OK. */
  #isAccepted(request: PendingRequest, index: number): boolean {
    const status = decodeStatus(this.#frames, STATUSES_OFFSET + index * STATUS_BYTES);
    if (status === 'ok' && request.isSent) return true;
    if ((status === 'busy' || status === 'sent') && request.request.refuseWhen !== undefined) {
      request.refusal = status;
      return true;
    }
    const done = this.#awaiting.splice(0, index);
    for (const earlier of done) this.#settle(earlier, outcomeOf(earlier));
    this.#fail(request, status === 'rejected' ? Outcome.Rejected : Outcome.Protocol);
    this.close(
      status === 'rejected' ? 'the peer refused an address' : 'the peer answered in another framing',
      'closed',
    );
    return false;
  }

  #onNoBytes(count: number): boolean {
    const code = count === 0 ? 0 : errno();
    if (code === EINTR) return true;
    if (code === EAGAIN) {
      this.#waitForBytes();
      return this.#readable;
    }
    if (code === EFAULT && this.#awaiting.length > 1 && !this.#isHeadAlone) {
      this.#isHeadAlone = true;
      return true;
    }
    const [head] = this.#awaiting;
    if (code === EFAULT && head !== undefined) this.#fail(head, Outcome.MemoryFault);
    // One that the peer ends before it ever answered was never good for anything, asked or not.
    const isTheirs = code !== EFAULT && (this.isBusy || !this.#hasAnswered);
    const reason = code === 0 ? 'the peer closed the connection' : `receive answered ${errnoName(code)}`;
    this.close(reason, isTheirs ? 'lost' : 'closed');
    return false;
  }

  /** No wake-up for less than is worth one, but never for more than will come. */
  #waitForBytes(): void {
    this.#readable = false;
    const wanted = Math.max(1, Math.min(this.#dueBytes, this.#lowWaterBytesMax));
    if (wanted === this.#lowWaterBytes) return;
    this.#lowWaterBytes = wanted;
    setReceiveLowWater(this.fd, wanted);
    this.#readable = true; // what has arrived meanwhile made no edge under the old mark
  }

  // --- ending ------------------------------------------------------------------------------------

  #settle(request: PendingRequest, outcome: Outcome): void {
    if (request.isCanceled) return; // it was settled by the cancel
    const digest = outcome === Outcome.Done ? request.request.digest?.end() : undefined;
    this.#context.onSettled(request.id, outcome, digest);
  }

  /** Takes one request out and settles it; the connection is about to end. */
  #fail(request: PendingRequest, outcome: Outcome): void {
    this.#awaiting = this.#awaiting.filter((other) => other !== request);
    this.#unsent = this.#unsent.filter((other) => other !== request);
    this.#settle(request, outcome);
  }

  /**
   * Makes the memory of these requests quiet and settles them, now. Those not sent are dropped; the
   * answers of the others are swallowed, or the connection ends if they are long.
   */
  cancel(ids: ReadonlySet<number>): void {
    for (const request of this.#held?.remove(ids) ?? []) this.#settle(request, Outcome.Canceled);
    const dropped = this.#unsent.filter((request) => ids.has(request.id) && request.sentBytes === 0);
    this.#unsent = this.#unsent.filter((request) => !dropped.includes(request));
    for (const request of dropped) this.#settle(request, Outcome.Canceled);
    let swallowBytes = 0;
    for (const request of new Set([...this.#awaiting, ...this.#unsent])) {
      if (!ids.has(request.id) || request.isCanceled) continue;
      this.#settle(request, Outcome.Canceled);
      request.isCanceled = true;
      swallowBytes += request.payloadLeftBytes;
    }
    const isBodyUnderWay = this.#unsent.some((request) => request.isCanceled);
    if (swallowBytes > SWALLOW_BYTES || isBodyUnderWay) this.close('a transfer was cancelled', 'closed');
  }

  checkDeadlines(nowMs: number): void {
    this.#tellProgress();
    if (this.#upload?.isParked === true) this.#noteProgress(); // it is us who wait
    const silentMs = nowMs - this.#lastProgressMs;
    const { stallTimeoutMs } = this.#context;
    const { connectTimeoutMs = this.#context.connectTimeoutMs, silenceMs = Number.POSITIVE_INFINITY } = this.#patience;
    if (this.#state === 'connecting') {
      if (silentMs > connectTimeoutMs) this.close(`no connection after ${connectTimeoutMs} ms`, 'refused');
    } else if (this.isBusy && silentMs > PROBE_AFTER_MS) {
      const isProbed = this.#probedMs > this.#lastProgressMs && nowMs - this.#probedMs < PROBED_LATELY_MS;
      if (isProbed && silentMs > stallTimeoutMs) this.close(`no byte for ${stallTimeoutMs} ms`, 'stalled');
      else this.#probe(nowMs);
      if (isProbed && this.#isOpen && silentMs > silenceMs) this.#context.onSilent(this, silentMs);
    }
  }

  /** Slices that come slowly, as under a limit, must not look like ones that do not come. */
  #tellProgress(): void {
    const [head] = this.#awaiting;
    if (head === undefined || head.isCanceled || head.receivedPayloadBytes <= head.toldBytes) return;
    head.toldBytes = head.receivedPayloadBytes;
    this.#context.onProgress(head.id, head.toldBytes);
  }

  #probe(nowMs: number): void {
    this.#probedMs = nowMs;
    this.#readable = true;
    this.#writable = true;
    this.#context.reactor.wake(this);
  }

  #noteProgress(): void {
    this.#lastProgressMs = performance.now();
  }

  abandon(cause: unknown): void {
    this.close(`a defect: ${String(cause)}`, 'lost');
  }

  close(reason: string, end: ConnectionEnd): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#context.reactor.remove(this);
    // The body of a WRITE that goes over another connection next must not arrive on this one afterwards.
    if ([...this.#awaiting, ...this.#unsent].some(({ request }) => request.opcode === 'write')) discardOnClose(this.fd);
    closeSocket(this.fd);
    const [head, ...waiting] = this.#awaiting;
    const held = this.#held?.clear() ?? [];
    const unstarted = this.#unsent.filter((request) => !this.#awaiting.includes(request)).concat(held);
    this.#upload?.close();
    this.#awaiting = [];
    this.#unsent = [];
    if (head !== undefined) this.#settle(head, end === 'closed' ? Outcome.Unstarted : Outcome.Disconnected);
    for (const request of [...waiting, ...unstarted]) this.#settle(request, Outcome.Unstarted);
    this.#frames.free();
    this.#context.onClosed(this, reason, end);
  }
}

function outcomeOf({ refusal }: PendingRequest): Outcome {
  if (refusal === undefined) return Outcome.Done;
  return refusal === 'busy' ? Outcome.Busy : Outcome.Sent;
}
