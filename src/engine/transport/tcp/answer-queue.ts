import type { RegisteredRange } from '../../registered-ranges.ts';
import { STATUS_BYTES, type Status } from './framing.ts';
import type { MessageHeader } from './message-header.ts';

/** What one request is answered with: a status, then the payload of a READ. */
export interface Answer {
  readonly status: Status;
  /** The part of the status that has not been sent; 0 from the start in version 1. */
  statusLeftBytes: number;
  /** Of what is left of the payload. */
  address: number;
  leftBytes: number;
  /** Where the payload lies. */
  readonly range: RegisteredRange | undefined;
  /** Of the whole payload, as counted in the load. */
  readonly countedBytes: number;
}

/** Answers that one send may carry; each is a status and a payload. */
export const MAX_ANSWERS = 64;

export interface GatherBounds {
  readonly maxAnswers: number;
  /** Of payload; at least 1. */
  readonly maxBytes: number;
  /** A payload of so many bytes is left out unless it is the first. */
  readonly aloneBytes: number;
}

/** Answers of one connection that have not been sent, in the order of the requests. */
export class AnswerQueue {
  readonly #statusAddress: (status: Status) => number;
  readonly #answers: Answer[] = [];
  #payloadBytes = 0;

  /** @param statusAddress - Where the bytes of a status are. */
  constructor(statusAddress: (status: Status) => number) {
    this.#statusAddress = statusAddress;
  }

  get length(): number {
    return this.#answers.length;
  }

  get head(): Answer | undefined {
    return this.#answers[0];
  }

  /** Payload that has not been sent. */
  get payloadBytes(): number {
    return this.#payloadBytes;
  }

  push(answer: Answer): void {
    this.#answers.push(answer);
    this.#payloadBytes += answer.leftBytes;
  }

  /** Lays out what the next call sends. */
  gather(message: MessageHeader, { maxAnswers, maxBytes, aloneBytes }: GatherBounds): void {
    let room = maxBytes;
    let count = 0;
    for (const { status, statusLeftBytes, address, leftBytes } of this.#answers) {
      if (room <= 0 || count === maxAnswers || (count > 0 && leftBytes >= aloneBytes)) return;
      if (statusLeftBytes > 0)
        message.push(this.#statusAddress(status) + STATUS_BYTES - statusLeftBytes, statusLeftBytes);
      if (leftBytes > 0) message.push(address, Math.min(leftBytes, room));
      room -= leftBytes;
      count += 1;
    }
  }

  /** Counts the next bytes of the stream as sent. Calls `onSent` for every answer that is whole by that. */
  countSent(bytes: number, onSent: (answer: Answer) => void): void {
    let left = bytes;
    let finished = 0;
    for (const answer of this.#answers) {
      const statusBytes = Math.min(left, answer.statusLeftBytes);
      const payloadBytes = Math.min(left - statusBytes, answer.leftBytes);
      answer.statusLeftBytes -= statusBytes;
      answer.address += payloadBytes;
      answer.leftBytes -= payloadBytes;
      this.#payloadBytes -= payloadBytes;
      left -= statusBytes + payloadBytes;
      if (answer.statusLeftBytes > 0 || answer.leftBytes > 0) break;
      finished += 1;
    }
    for (const answer of this.#answers.splice(0, finished)) onSent(answer);
  }

  /** Whether payload of that range waits here. */
  uses(range: RegisteredRange): boolean {
    return this.#answers.some((answer) => answer.range === range);
  }

  /** Takes out all. */
  clear(): readonly Answer[] {
    this.#payloadBytes = 0;
    return this.#answers.splice(0);
  }
}
