/** Who answers at an address: 16 random bytes of this store that everybody may read, and how others read them. */
import { randomFillSync } from 'node:crypto';
import { Scratch } from '../../../native/scratch.ts';
import type { RegisteredRange } from '../../registered-ranges.ts';
import { IDENTITY_BYTES, type TcpIdentity } from './tcp-endpoint.ts';

export class Identity {
  readonly #memory: Scratch = new Scratch(IDENTITY_BYTES);

  constructor() {
    randomFillSync(this.#memory.bytes);
  }

  get facts(): TcpIdentity {
    return { address: this.#memory.address, value: Buffer.from(this.#memory.bytes).toString('hex') };
  }

  /** To be registered for others. */
  get range(): RegisteredRange {
    return { address: this.#memory.address, lengthBytes: IDENTITY_BYTES, isReadable: true, isWritable: false };
  }

  /** Only once nobody reads it any more. */
  free(): void {
    this.#memory.free();
  }
}

/** One question under way: where the answer goes, and whether it is the right one. */
export class IdentityQuestion {
  readonly #expected: TcpIdentity;
  readonly #memory: Scratch = new Scratch(IDENTITY_BYTES);
  readonly #onAnswer: (fault: string | undefined) => void;

  constructor(expected: TcpIdentity, onAnswer: (fault: string | undefined) => void) {
    this.#expected = expected;
    this.#onAnswer = onAnswer;
  }

  get localAddress(): number {
    return this.#memory.address;
  }

  get remoteAddress(): number {
    return this.#expected.address;
  }

  /** Takes the answer, and frees its memory. @param isRead - Whether the bytes came. */
  settle(isRead: boolean): void {
    const isRight = isRead && Buffer.from(this.#memory.bytes).toString('hex') === this.#expected.value;
    this.free();
    this.#onAnswer(isRight ? undefined : 'another process answers there');
  }

  /** Nobody waits for the answer any more, and nothing writes it. */
  free(): void {
    this.#memory.free();
  }
}
