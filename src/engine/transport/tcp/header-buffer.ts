import type { Scratch } from '../../../native/scratch.ts';
import { decodeHeader, HEADER_BYTES, type Header } from './framing.ts';

/** Headers that one receive may bring. */
const MAX_HEADERS = 64;
/** Of the memory that a {@link HeaderBuffer} needs. */
export const HEADER_BUFFER_BYTES: number = MAX_HEADERS * HEADER_BYTES;

/** What a peer has asked for and we have not looked at yet: many small requests cost one system call. */
export class HeaderBuffer {
  readonly #memory: Pick<Scratch, 'address' | 'view' | 'bytes'>;
  readonly #offset: number;
  #start = 0;
  #end = 0;

  /** @param offset - Of {@link HEADER_BUFFER_BYTES} in `memory`. */
  constructor(memory: Pick<Scratch, 'address' | 'view' | 'bytes'>, offset: number) {
    this.#memory = memory;
    this.#offset = offset;
  }

  /** Bytes here that nobody has taken. */
  get lengthBytes(): number {
    return this.#end - this.#start;
  }

  get hasHeader(): boolean {
    return this.lengthBytes >= HEADER_BYTES;
  }

  /** Where the first of them is. */
  get address(): number {
    return this.#memory.address + this.#offset + this.#start;
  }

  /** Where the next bytes of the stream belong; what is here moves to the front. */
  get fillAddress(): number {
    const { bytes } = this.#memory;
    if (this.#start > 0) {
      bytes.copyWithin(this.#offset, this.#offset + this.#start, this.#offset + this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#memory.address + this.#offset + this.#end;
  }

  /** How many bytes to ask for: up to the end of one header, or as many as there is room for. */
  roomBytes(isOneHeader: boolean): number {
    return (isOneHeader ? HEADER_BYTES : HEADER_BUFFER_BYTES) - this.lengthBytes;
  }

  fill(bytes: number): void {
    this.#end += bytes;
  }

  /** The first header; there is one. */
  peek(): Header {
    return decodeHeader(this.#memory, this.#offset + this.#start);
  }

  take(bytes: number): void {
    this.#start += bytes;
    if (this.#start === this.#end) this.clear();
  }

  clear(): void {
    this.#start = 0;
    this.#end = 0;
  }
}
