/** Completions: what became of the requests that were posted with a device. */
import { errno, koffi, libcFunction, systemCallError } from './libc.ts';
import { Scratch } from './scratch.ts';
import type { DeviceFunctions, VerbsDevice } from './verbs-device.ts';
import { CHANNEL_FD, COMPLETION } from './verbs-layout.ts';
import { requirePointer, requireZero, verbsFunction } from './verbs-library.ts';

const createChannel = verbsFunction<[number], number>('uintptr_t ibv_create_comp_channel(uintptr_t context)');
const destroyChannel = verbsFunction<[number], number>('int ibv_destroy_comp_channel(uintptr_t channel)');
const createCq = verbsFunction<[number, number, number, number, number], number>(
  'uintptr_t ibv_create_cq(uintptr_t context, int size, uintptr_t user, uintptr_t channel, int vector)',
);
const destroyCq = verbsFunction<[number], number>('int ibv_destroy_cq(uintptr_t cq)');
const getCqEvent = verbsFunction<[number, number, number], number>(
  'int ibv_get_cq_event(uintptr_t channel, uintptr_t cq, uintptr_t user)',
);
const ackCqEvents = verbsFunction<[number, number], void>('void ibv_ack_cq_events(uintptr_t cq, uint count)');
const statusText = verbsFunction<[number], string>('const char *ibv_wc_status_str(int status)');
// The C function takes more arguments by its "..."; koffi wants their types with each call.
const fcntl = libcFunction<[number, number, string, number], number>('int fcntl(int fd, int command, ...)');

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const BATCH = 64;

/** What one request came to. */
export type OnCompletion = (id: number, status: number, vendorError: number) => void;

/** The text that verbs have for the status of a completion. */
export function completionStatusText(status: number): string {
  return statusText(status);
}

/** Reads completions out of a queue without making an object for each. */
export class CompletionReader {
  readonly #functions: DeviceFunctions;
  readonly #cq: number;
  readonly #scratch: Scratch = new Scratch(BATCH * COMPLETION.bytes);

  constructor(functions: DeviceFunctions, cq: number) {
    this.#functions = functions;
    this.#cq = cq;
  }

  /**
   * Takes up to 64 completions.
   *
   * @throws P2P_SYSTEM_CALL_FAILED The queue overflowed or its device is gone.
   */
  poll(onCompletion: OnCompletion): number {
    const { address, view } = this.#scratch;
    const count = this.#functions.pollCq(this.#cq, BATCH, address);
    if (count < 0) throw systemCallError('ibv_poll_cq', -count);
    for (let index = 0; index < count; index++) {
      const at = index * COMPLETION.bytes;
      const id = this.#scratch.getUint64(at + COMPLETION.id);
      onCompletion(id, view.getInt32(at + COMPLETION.status, true), view.getUint32(at + COMPLETION.vendorError, true));
    }
    return count;
  }

  free(): void {
    this.#scratch.free();
  }
}

/** A completion queue whose channel wakes this thread's event loop. */
export class CompletionQueue {
  readonly handle: number;
  readonly #device: VerbsDevice;
  readonly #channel: number;
  readonly #reader: CompletionReader;
  readonly #event: Scratch = new Scratch(16);
  readonly #watch: { ref(): void; unref(): void; close(): void };

  /** @param onEvent - There may be completions; runs once for each {@link arm}. */
  constructor(device: VerbsDevice, size: number, onEvent: () => void) {
    this.#device = device;
    this.#channel = requirePointer(createChannel(device.context), 'ibv_create_comp_channel');
    const cq = createCq(device.context, size, 0, this.#channel, 0);
    if (cq === 0) {
      const error = systemCallError('ibv_create_cq', errno());
      destroyChannel(this.#channel);
      throw error;
    }
    this.handle = cq;
    this.#reader = new CompletionReader(device.functions, cq);
    const fd = koffi().decode(BigInt(this.#channel + CHANNEL_FD), 'int') as number;
    // Taking an event must not wait for one.
    fcntl(fd, F_SETFL, 'int', fcntl(fd, F_GETFL, 'int', 0) | O_NONBLOCK);
    this.#watch = koffi().node.poll(fd, { readable: true }, () => {
      this.#takeEvents();
      onEvent();
    });
    this.#watch.unref();
  }

  /** Whether waiting for completions holds the process. */
  set holdsProcess(holds: boolean) {
    if (holds) this.#watch.ref();
    else this.#watch.unref();
  }

  #takeEvents(): void {
    let count = 0;
    while (getCqEvent(this.#channel, this.#event.address, this.#event.address + 8) === 0) count += 1;
    if (count > 0) ackCqEvents(this.handle, count);
  }

  /** Asks for an event at the next completion. Poll once more afterwards: one that came just before makes none. */
  arm(): void {
    requireZero(this.#device.functions.requestNotify(this.handle, 0), 'ibv_req_notify_cq');
  }

  /** See {@link CompletionReader.poll}. */
  poll(onCompletion: OnCompletion): number {
    return this.#reader.poll(onCompletion);
  }

  /** The queue pairs that used it have been destroyed. */
  close(): void {
    this.#watch.close();
    this.#takeEvents();
    destroyCq(this.handle);
    destroyChannel(this.#channel);
    this.#reader.free();
    this.#event.free();
  }
}
