import type { RefuseWhen } from '../../transfer.ts';
import type { ArrivalDigest } from './arrival-digest.ts';
import { type FramingVersion, HEADER_BYTES, type Opcode, STATUS_BYTES } from './framing.ts';

export interface ClientRequest {
  readonly id: number;
  readonly opcode: Opcode;
  readonly localAddress: number;
  readonly remoteAddress: number;
  readonly lengthBytes: number;
  /** Whose part of a rate limit it uses; 0 without limits. */
  readonly flow: number;
  /** Undefined: the peer must not refuse. */
  readonly refuseWhen: RefuseWhen | undefined;
  /** Of a READ whose bytes are to be digested as they come. */
  readonly digest: ArrivalDigest | undefined;
}

/** One request on one connection: how much of it has been sent, and how much of its answer has come. */
export class PendingRequest {
  readonly request: ClientRequest;
  /** Header, and the body of a WRITE. */
  readonly requestBytes: number;
  readonly #version: FramingVersion;
  sentBytes = 0;
  #statusBytes = 0;
  #payloadBytes = 0;
  isCanceled = false;
  /** By a status that says why; no payload comes then. */
  refusal: 'busy' | 'sent' | undefined;
  /** Payload that has been told of. */
  toldBytes = 0;

  constructor(request: ClientRequest, version: FramingVersion) {
    this.request = request;
    this.#version = version;
    this.requestBytes = HEADER_BYTES + (request.opcode === 'write' ? request.lengthBytes : 0);
  }

  get id(): number {
    return this.request.id;
  }

  get isSent(): boolean {
    return this.sentBytes === this.requestBytes;
  }

  /** How many of the next `bytes` to send belong to the body of a WRITE. */
  bodyBytes(bytes: number): number {
    return Math.max(0, bytes - Math.max(0, HEADER_BYTES - this.sentBytes));
  }

  /** Version 1 answers a WRITE with nothing. */
  get hasAnswer(): boolean {
    return this.#version === 2 || this.request.opcode === 'read';
  }

  get statusLeftBytes(): number {
    return this.#version === 2 ? STATUS_BYTES - this.#statusBytes : 0;
  }

  get payloadLeftBytes(): number {
    if (this.request.opcode === 'write' || this.refusal !== undefined) return 0;
    return this.request.lengthBytes - this.#payloadBytes;
  }

  /** Whether only its status can tell what follows: payload, or the next answer. */
  get isUndecided(): boolean {
    return this.request.refuseWhen !== undefined && this.statusLeftBytes > 0;
  }

  /** What is sure to come of its answer. */
  get certainLeftBytes(): number {
    return this.isUndecided ? this.statusLeftBytes : this.answerLeftBytes;
  }

  get answerLeftBytes(): number {
    return this.statusLeftBytes + this.payloadLeftBytes;
  }

  get receivedPayloadBytes(): number {
    return this.#payloadBytes;
  }

  get receivedStatusBytes(): number {
    return this.#statusBytes;
  }

  /** Where the next byte of the payload belongs. */
  get payloadAddress(): number {
    return this.request.localAddress + this.#payloadBytes;
  }

  /** Counts up to `bytes` as status. Returns how many it took. */
  takeStatus(bytes: number): number {
    const taken = Math.min(bytes, this.statusLeftBytes);
    this.#statusBytes += taken;
    return taken;
  }

  /** Counts up to `bytes` as payload. Returns how many it took. */
  takePayload(bytes: number): number {
    const taken = Math.min(bytes, this.payloadLeftBytes);
    if (!this.isCanceled) this.request.digest?.add(this.payloadAddress, taken); // else they fell into a sink
    this.#payloadBytes += taken;
    return taken;
  }
}
