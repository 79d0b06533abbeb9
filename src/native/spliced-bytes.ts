import { assert } from '../core/assert.ts';
import { errno, libcFunction, systemCallError } from './libc.ts';
import { Scratch } from './scratch.ts';

const memfdCreate = libcFunction<[string, number], number>('int memfd_create(const char *name, uint flags)');
const write = libcFunction<[number, number, number], number>('int64_t write(int fd, uintptr_t bytes, size_t length)');
const read = libcFunction<[number, number, number], number>('int64_t read(int fd, uintptr_t bytes, size_t length)');
const pipe2 = libcFunction<[number, number], number>('int pipe2(uintptr_t ends, int flags)');
const splice = libcFunction<[number, number, number, number, number, number], number>(
  'int64_t splice(int from, uintptr_t fromOffset, int to, uintptr_t toOffset, size_t length, uint flags)',
);
const close = libcFunction<[number], number>('int close(int fd)');

const MFD_CLOEXEC = 1;
const O_CLOEXEC = 0o2000000;
const SPLICE_F_MORE = 4;
/** What a pipe holds unless the system is short of memory for pipes: then it holds less, in whole pages. */
const PIPE_BYTES = 64 * 1024;
const NO_OFFSET = 0;

/**
 * A few constant bytes that go into a socket by reference instead of by copy, together with what follows them.
 *
 * What a socket is given by copy it packs into pages one after the other. Eight bytes before a payload
 * make the copy's target lie eight bytes behind its source within their pages, and there AMD's `rep movsb`
 * drops to a quarter of its speed (8.0 to 2.0 GB/s for distances of 1 to 63 bytes). Sent by reference they take no room,
 * and payload that begins at a page goes to where a page begins.
 *
 * They come out of a pipe that holds them thousands of times, because only from a pipe can a call say that more follows.
 * Else they would leave in a packet of their own, and wake the peer for nothing.
 */
export class SplicedBytes {
  readonly #lengthBytes: number;
  /** A file in memory, filled with repetitions. */
  readonly #file: number;
  readonly #pipe: { readonly readEnd: number; readonly writeEnd: number };
  readonly #scratch: Scratch = new Scratch(16);
  #pipedBytes = 0;

  /** @param length - Bytes at `address`, copied once, now; a power of two up to 4 KiB. */
  constructor(address: number, length: number) {
    this.#lengthBytes = length;
    this.#file = memfdCreate('p2pstore', MFD_CLOEXEC);
    if (this.#file < 0) throw systemCallError('memfd_create', errno());
    for (let offset = 0; offset < PIPE_BYTES; offset += length) {
      assert(write(this.#file, address, length) === length, 'a file in memory takes a few bytes');
    }
    const { address: ends, view } = this.#scratch;
    if (pipe2(ends, O_CLOEXEC) < 0) {
      const error = systemCallError('pipe2', errno());
      close(this.#file);
      throw error;
    }
    this.#pipe = { readEnd: view.getInt32(0, true), writeEnd: view.getInt32(4, true) };
  }

  /** Sends the bytes, and tells the socket that more follows at once. @returns Bytes sent; negative means see `errno()`. */
  send(fd: number): number {
    if (this.#pipedBytes === 0) this.#refill();
    const count = splice(this.#pipe.readEnd, NO_OFFSET, fd, NO_OFFSET, this.#lengthBytes, SPLICE_F_MORE);
    if (count > 0) {
      this.#pipedBytes -= count;
      if (count < this.#lengthBytes) this.#drop(this.#lengthBytes - count);
    }
    return count;
  }

  #refill(): void {
    const { address, view } = this.#scratch;
    view.setBigInt64(0, 0n, true);
    this.#pipedBytes = splice(this.#file, address, this.#pipe.writeEnd, NO_OFFSET, PIPE_BYTES, 0);
    assert(this.#pipedBytes >= this.#lengthBytes, 'an empty pipe takes a page of a file in memory');
  }

  /** What a socket has not taken goes to this peer by copy, and would be the beginning of what the next one gets. */
  #drop(bytes: number): void {
    this.#pipedBytes -= read(this.#pipe.readEnd, this.#scratch.address, bytes);
  }

  close(): void {
    close(this.#pipe.readEnd);
    close(this.#pipe.writeEnd);
    close(this.#file);
    this.#scratch.free();
  }
}
