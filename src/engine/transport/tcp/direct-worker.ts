/**
 * Does for a few small requests what an I/O worker does, in the engine's own thread. Who asks for 4 KiB and waits for it is served
 * sooner without two changes of threads; and when this thread is busy, its caller could not look at the answer anyway.
 */
import { soon } from '../../../core/soon.ts';
import { AdaptiveSpin } from '../adaptive-spin.ts';
import { MESSAGE_PARTS } from './client-connection.ts';
import { MessageHeader } from './message-header.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { Outbound, type OutboundOptions } from './outbound.ts';
import { SLOW_BYTES_PER_MS } from './piece-pace.ts';
import { Reactor } from './reactor.ts';

/** Where a peer sends what concerns one connection. */
export interface ConnectionWorker {
  /** Does nothing once it has been told to stop. */
  post(message: ToWorker): void;
}

const live = new Set<DirectWorker>();

/** Its handle must not outlive this thread's JavaScript: it would call into what is gone. */
function closeAll(): void {
  for (const worker of live) worker.close();
}

function track(worker: DirectWorker): void {
  if (live.size === 0) process.on('exit', closeAll);
  live.add(worker);
}

function untrack(worker: DirectWorker): void {
  live.delete(worker);
  if (live.size === 0) process.off('exit', closeAll);
}

export class DirectWorker implements ConnectionWorker {
  readonly #reactor = new Reactor(new AdaptiveSpin());
  readonly #message = new MessageHeader(MESSAGE_PARTS);
  readonly #outbound: Outbound;
  #isRunQueued = false;
  #isClosed = false;

  /** @param onMessage - Never called from within {@link post}. */
  constructor(
    settings: Pick<OutboundOptions, 'connectTimeoutMs' | 'stallTimeoutMs' | 'ranges'>,
    onMessage: (message: FromWorker) => void,
  ) {
    this.#outbound = new Outbound({
      ...settings,
      reactor: this.#reactor,
      message: this.#message,
      bytesPerMsMax: SLOW_BYTES_PER_MS,
      upload: undefined,
      download: undefined,
      post: (message) => soon(() => onMessage(message)),
    });
    this.#reactor.isBusy = () => this.#outbound.isBusy;
    track(this);
  }

  post(message: ToWorker): void {
    if (this.#isClosed) return;
    if (message.kind === 'submit') this.#outbound.submit(message);
    else if (message.kind === 'connect') this.#outbound.connect(message);
    else if (message.kind === 'cancel') this.#outbound.cancel(message.connectionId, message.requestIds);
    else if (message.kind === 'disconnect') this.#outbound.disconnect(message.connectionId);
    this.#runSoon();
  }

  /** Once the caller is through, and before the event loop does anything else. */
  #runSoon(): void {
    if (this.#isRunQueued) return;
    this.#isRunQueued = true;
    soon(() => {
      this.#isRunQueued = false;
      this.#reactor.run();
    });
  }

  /** Ends its connections; what they carried is told as undone. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    untrack(this);
    this.#outbound.close();
    this.#reactor.close();
    this.#message.free();
  }
}
