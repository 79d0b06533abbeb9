/**
 * The loop of one I/O worker: which sockets can move bytes now, each in its turn.
 *
 * The sockets sit in an epoll set, edge-triggered; a channel that may still move bytes stays in the
 * ready set and gets one bounded step a round, so no connection starves another. The thread's
 * event loop wakes the reactor, which then works for a bounded time before messages get their turn.
 */
import { EPOLLIN, EPOLLOUT, Epoll } from '../../../native/epoll.ts';
import type { AdaptiveSpin } from '../adaptive-spin.ts';

/** One socket with its state machine. */
export interface Channel {
  readonly fd: number;
  /** Notes what became possible; never moves bytes itself. */
  onReady(readable: boolean, writable: boolean): void;
  /**
   * Moves at most one quantum of bytes.
   *
   * A call that moved less than it was asked to has used up the readiness: the socket tells when there is more.
   *
   * @returns Whether another step may find more to do; false means wait for the next readiness.
   */
  step(): boolean;
  /** Called a few times a second: ends what has made no progress for too long. */
  checkDeadlines(nowMs: number): void;
  /** An exception escaped `step()`: a defect of ours, which ends this channel and no other. */
  abandon(cause: unknown): void;
}

/** Long enough to amortise a wake-up, short enough that a message waits only this long. */
const TURN_MS = 1;
/** Between two looks at all sockets, which cost as much as the JavaScript of a step. */
const STEPS_PER_LOOK = 4;
/** With transfers under way, waiting here is cheaper than a way through the event loop. */
const BUSY_WAIT_MS = 1;
const DEADLINE_CHECK_MS = 250;

export class Reactor {
  readonly #epoll: Epoll = new Epoll(() => this.run());
  readonly #channels = new Map<number, Channel>();
  readonly #ready = new Set<Channel>();
  readonly #listeners = new Map<number, () => void>();
  readonly #deadlineTimer: NodeJS.Timeout;
  #isRunQueued = false;
  #isClosed = false;
  #isBusy: () => boolean = () => false;
  readonly #spin: AdaptiveSpin | undefined;

  /** @param spin - How to wait for sockets while transfers are under way on a thread that must not sleep; else it sleeps. */
  constructor(spin?: AdaptiveSpin) {
    this.#spin = spin;
    this.#deadlineTimer = setInterval(() => this.#checkDeadlines(), DEADLINE_CHECK_MS);
  }

  /** Says whether transfers are under way, so that an idle worker does not wait in here. */
  set isBusy(isBusy: () => boolean) {
    this.#isBusy = isBusy;
  }

  listen(fd: number, onConnection: () => void): void {
    this.#listeners.set(fd, onConnection);
    this.#epoll.addListener(fd);
  }

  unlisten(fd: number): void {
    this.#listeners.delete(fd);
    this.#epoll.remove(fd);
  }

  add(channel: Channel): void {
    this.#channels.set(channel.fd, channel);
    this.#epoll.add(channel.fd);
  }

  /** Forgets a channel; its owner closes the socket afterwards. */
  remove(channel: Channel): void {
    if (this.#channels.get(channel.fd) !== channel) return;
    this.#channels.delete(channel.fd);
    this.#ready.delete(channel);
    this.#epoll.remove(channel.fd);
  }

  /** Gives a channel steps in the next turn, because it got work from outside. */
  wake(channel: Channel): void {
    this.#ready.add(channel);
    if (this.#isRunQueued) return;
    this.#isRunQueued = true;
    setImmediate(() => {
      this.#isRunQueued = false;
      this.run();
    });
  }

  run(): void {
    if (this.#isClosed) return;
    const endMs = performance.now() + TURN_MS;
    this.#epoll.wait(0, this.#onEvent);
    do {
      for (let steps = 0; steps < STEPS_PER_LOOK && this.#ready.size > 0; ) steps += this.#stepAll();
    } while (performance.now() < endMs && this.#look());
    // The set's own readiness wakes the event loop for new events, but not for steps still due.
    const [next] = this.#ready;
    if (next !== undefined) this.wake(next);
  }

  /** Looks at all sockets, and waits for one when none has steps due. @returns Whether there is something to do now. */
  #look(): boolean {
    if (this.#ready.size > 0) {
      this.#epoll.wait(0, this.#onEvent);
      return true;
    }
    if (!this.#isBusy()) return this.#epoll.wait(0, this.#onEvent) > 0;
    if (this.#spin !== undefined) return this.#spinForEvent(this.#spin);
    return this.#epoll.wait(BUSY_WAIT_MS, this.#onEvent) > 0;
  }

  #spinForEvent(spin: AdaptiveSpin): boolean {
    const us = spin.nextUs();
    if (us === 0) return false;
    const endMs = performance.now() + us / 1000;
    let events: number;
    do events = this.#epoll.wait(0, this.#onEvent);
    while (events <= 0 && performance.now() < endMs);
    spin.onResult(events > 0);
    return events > 0;
  }

  readonly #onEvent = (fd: number, events: number): void => {
    const channel = this.#channels.get(fd);
    if (channel === undefined) {
      this.#listeners.get(fd)?.();
      return;
    }
    // Errors and hang-ups show as both: the next call on the socket tells which.
    const isBroken = (events & ~(EPOLLIN | EPOLLOUT)) !== 0;
    channel.onReady(isBroken || (events & EPOLLIN) !== 0, isBroken || (events & EPOLLOUT) !== 0);
    this.#ready.add(channel);
  };

  /** @returns How many steps that were. */
  #stepAll(): number {
    let steps = 0;
    for (const channel of this.#ready) {
      steps += 1;
      try {
        if (!channel.step()) this.#ready.delete(channel);
      } catch (cause) {
        channel.abandon(cause);
      }
    }
    return steps;
  }

  #checkDeadlines(): void {
    const nowMs = performance.now();
    for (const channel of this.#channels.values()) channel.checkDeadlines(nowMs);
  }

  /** Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#deadlineTimer);
    this.#epoll.close();
  }
}
