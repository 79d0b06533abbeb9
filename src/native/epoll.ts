import { errno, koffi, libcFunction, systemCallError } from './libc.ts';
import { Scratch } from './scratch.ts';

const epollCreate1 = libcFunction<[number], number>('int epoll_create1(int flags)');
const epollCtl = libcFunction<[number, number, number, number], number>(
  'int epoll_ctl(int ep, int op, int fd, uintptr_t event)',
);
const epollWait = libcFunction<[number, number, number, number], number>(
  'int epoll_wait(int ep, uintptr_t events, int max, int timeout)',
);
const close = libcFunction<[number], number>('int close(int fd)');

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const MAX_EVENTS = 128;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = EVENT_BYTES - 8;

export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
const EPOLLET = 0x8000_0000;

/**
 * An epoll set of its own, so that the data plane decides when and how often it looks at its
 * sockets. The set's own descriptor is watched by the thread's event loop: `onReady` runs there.
 */
export class Epoll {
  readonly #fd: number;
  readonly #scratch: Scratch = new Scratch(EVENT_BYTES * (MAX_EVENTS + 1));
  readonly #handle: { close(): void };

  constructor(onReady: () => void) {
    this.#fd = epollCreate1(EPOLL_CLOEXEC);
    if (this.#fd < 0) throw systemCallError('epoll_create1', errno());
    this.#handle = koffi().node.poll(this.#fd, { readable: true }, () => {
      try {
        onReady();
      } catch (cause) {
        // Nobody catches what leaves a native callback; from here it ends the thread as any other.
        setImmediate(() => {
          throw cause;
        });
      }
    });
  }

  /** Edge-triggered for both directions: one call a socket, none while it is in use. */
  add(fd: number): void {
    this.#control(fd, (EPOLLIN | EPOLLOUT | EPOLLET) >>> 0);
  }

  /** Level-triggered for reading, for a listener. */
  addListener(fd: number): void {
    this.#control(fd, EPOLLIN);
  }

  #control(fd: number, events: number): void {
    const { address, view } = this.#scratch;
    const at = EVENT_BYTES * MAX_EVENTS;
    view.setUint32(at, events, true);
    view.setInt32(at + DATA_OFFSET, fd, true);
    if (epollCtl(this.#fd, EPOLL_CTL_ADD, fd, address + at) < 0) throw systemCallError('epoll_ctl', errno());
  }

  remove(fd: number): void {
    epollCtl(this.#fd, EPOLL_CTL_DEL, fd, this.#scratch.address);
  }

  /** Calls `onEvent(fd, events)` for what is ready, waiting `timeoutMs` at most. Returns how many were. */
  wait(timeoutMs: number, onEvent: (fd: number, events: number) => void): number {
    const { address, view } = this.#scratch;
    const count = epollWait(this.#fd, address, MAX_EVENTS, timeoutMs);
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_BYTES;
      onEvent(view.getInt32(at + DATA_OFFSET, true), view.getUint32(at, true));
    }
    return count;
  }

  close(): void {
    this.#handle.close();
    close(this.#fd);
    this.#scratch.free();
  }
}
