import { errno, koffi, libcFunction, systemCallError } from './libc.ts';

const mmap = libcFunction<[null, number, number, number, number, number], bigint>(
  'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const munmap = libcFunction<[bigint, number], number>('int munmap(void *address, size_t length)');

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * Memory outside V8 for the arguments of system calls (iovec, epoll_event, headers): it has a
 * fixed address, so filling it through a DataView is all that a call costs. Lives until `free()`.
 */
export class Scratch {
  readonly address: number;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #pointer: bigint;

  constructor(sizeBytes: number) {
    this.#pointer = mmap(null, sizeBytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (this.#pointer === MAP_FAILED) throw systemCallError('mmap', errno());
    const buffer = koffi().view(this.#pointer, sizeBytes);
    this.address = Number(this.#pointer);
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** Stores a 64-bit unsigned integer without a bigint: `value` is below 2^53. */
  setUint64(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
    this.view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  }

  getUint64(offset: number): number {
    return this.view.getUint32(offset + 4, true) * 2 ** 32 + this.view.getUint32(offset, true);
  }

  free(): void {
    munmap(this.#pointer, this.bytes.byteLength);
  }
}
