import { Scratch } from '../../../native/scratch.ts';

const MSGHDR_BYTES = 56;
const IOVEC_BYTES = 16;
const IOV_POINTER_OFFSET = 16;
const IOV_COUNT_OFFSET = 24;

/**
 * A `struct msghdr` with its iovec array, refilled for every call of sendmsg or recvmsg, so that a
 * status and its payload, or several small payloads, cost one system call.
 */
export class MessageHeader {
  readonly address: number;
  readonly #scratch: Scratch;
  #parts = 0;
  #lengthBytes = 0;

  constructor(maxParts: number) {
    this.#scratch = new Scratch(MSGHDR_BYTES + IOVEC_BYTES * maxParts);
    this.address = this.#scratch.address;
    this.#scratch.setUint64(IOV_POINTER_OFFSET, this.address + MSGHDR_BYTES);
  }

  get isEmpty(): boolean {
    return this.#parts === 0;
  }

  /** Of all parts together. */
  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  reset(): void {
    this.#parts = 0;
    this.#lengthBytes = 0;
    this.#scratch.setUint64(IOV_COUNT_OFFSET, 0);
  }

  push(address: number, lengthBytes: number): void {
    const at = MSGHDR_BYTES + IOVEC_BYTES * this.#parts;
    this.#scratch.setUint64(at, address);
    this.#scratch.setUint64(at + 8, lengthBytes);
    this.#parts += 1;
    this.#lengthBytes += lengthBytes;
    this.#scratch.setUint64(IOV_COUNT_OFFSET, this.#parts);
  }

  free(): void {
    this.#scratch.free();
  }
}
