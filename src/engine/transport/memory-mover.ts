/**
 * Moves bytes between registered memory and the memory of a process on this host, without its help. Requests wait in one
 * queue; calls to the kernel take from its front, as many requests as fit into one, and a few calls run at once on other threads.
 */
import { constants } from 'node:os';
import { assert } from '../../core/assert.ts';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';
import { MIB } from '../../core/units.ts';
import { type CopyOutcome, type CopyPart, ProcessCopy } from '../../native/process-memory.ts';
import type { TransportRequest } from './transport.ts';

/** The process at the other end, as its transport knows it. */
export interface MemoryPeer {
  /**
   * Holds what the parts touch, so that it is not given up meanwhile.
   *
   * @throws P2P_TRANSFER_FAILED The process cannot be reached any more.
   */
  enter(opcode: 'read' | 'write', parts: readonly CopyPart[]): Passage;
  /** Copies parts that may be touched, by a call that is free. */
  copy(call: ProcessCopy, opcode: 'read' | 'write', parts: readonly CopyPart[]): Promise<CopyOutcome>;
  /** It cannot be reached any more. */
  onLost(): void;
}

/** Leave to touch a peer's memory, until it is left. */
export interface Passage {
  /** Whether each part may be touched. */
  readonly isAllowed: readonly boolean[];
  /** @returns Whether each part may still have been touched: its memory was not given up while it was held. */
  leave(): readonly boolean[];
}

interface Job {
  readonly request: TransportRequest;
  readonly peer: MemoryPeer;
  /** Where the next part starts. */
  offset: number;
  /** Parts that a call moves now. */
  running: number;
  /** Bytes to move again: a call ended before it came to them. */
  readonly left: { readonly offset: number; readonly lengthBytes: number }[];
  end: P2PStoreError | 'canceled' | undefined;
}

interface Part extends CopyPart {
  readonly job: Job;
  readonly offset: number;
}

/** Measured: 16 MiB a call and two calls at once fill the memory bus of two cores. What is less is shared by the two. */
const CALL_BYTES_MAX: number = 16 * MIB;
const CALL_BYTES_MIN: number = MIB;
const CALLS = 2;
/** Besides, for what does not wait behind others. */
const URGENT_CALLS = 1;
/** Many small requests share a call. */
const CALL_PARTS = 512;
const { EFAULT, ESRCH, EPERM } = constants.errno;

export class MemoryMover {
  readonly #jobs = new Map<TransportRequest, Job>();
  /** Those that have parts to start, in their order. */
  readonly #queue = new Set<Job>();
  readonly #urgent = new Set<Job>();
  /** Bytes of the queue that no call has taken; not of the urgent ones. */
  #waitingBytes = 0;
  readonly #idle: ProcessCopy[] = [];
  readonly #calls = new Set<Promise<void>>();
  #scheduled: NodeJS.Immediate | undefined;
  #isClosed = false;

  constructor() {
    for (let count = 0; count < CALLS + URGENT_CALLS; count++) this.#idle.push(new ProcessCopy(CALL_PARTS));
  }

  /** Its requests settle in later turns of the event loop. */
  submit(peer: MemoryPeer, request: TransportRequest): void {
    assert(!this.#isClosed, 'the mover is open');
    const job: Job = { request, peer, offset: 0, running: 0, left: [], end: undefined };
    this.#jobs.set(request, job);
    this.#enqueue(job, request.lengthBytes);
    this.#schedule();
  }

  cancel(request: TransportRequest): void {
    const job = this.#jobs.get(request);
    if (job !== undefined) this.#end(job, 'canceled');
  }

  /** Whether a request to this peer has not settled yet. */
  isUsing(peer: MemoryPeer): boolean {
    for (const job of this.#jobs.values()) if (job.peer === peer) return true;
    return false;
  }

  #enqueue(job: Job, bytes: number): void {
    if (isUrgent(job)) this.#urgent.add(job);
    else {
      this.#queue.add(job);
      this.#waitingBytes += bytes;
    }
  }

  #drop(job: Job): void {
    if (this.#urgent.delete(job) || !this.#queue.delete(job)) return;
    this.#waitingBytes -= job.left.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    this.#waitingBytes -= job.request.lengthBytes - job.offset;
  }

  /** A turn of the event loop in between lets requests that are submitted one by one share a call, and others have theirs. */
  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#start();
    });
  }

  #start(): void {
    for (;;) {
      const queue = this.#urgent.size > 0 ? this.#urgent : this.#queue;
      const isFull = this.#idle.length <= (queue === this.#urgent ? 0 : URGENT_CALLS);
      const parts = isFull ? [] : this.#takeParts(queue);
      const [first] = parts;
      const copy = first === undefined ? undefined : this.#idle.pop();
      if (first === undefined || copy === undefined) return;
      const call = this.#run(copy, first.job.peer, first.job.request.opcode, parts).finally(() => {
        this.#calls.delete(call);
        this.#idle.push(copy);
        this.#start();
      });
      this.#calls.add(call);
    }
  }

  /** Parts of the first requests that go to the same peer in the same direction. Who has more to move goes behind the others. */
  #takeParts(queue: Set<Job>): Part[] {
    const parts: Part[] = [];
    const shareBytes = Math.ceil(this.#waitingBytes / Math.max(1, this.#idle.length - URGENT_CALLS));
    const callBytes = queue === this.#urgent ? CALL_BYTES_MAX : Math.max(CALL_BYTES_MIN, shareBytes);
    let roomBytes = Math.min(CALL_BYTES_MAX, callBytes);
    for (const job of queue) {
      if (parts[0] !== undefined && !isAlike(job, parts[0].job)) break;
      const takenBytes = takeParts(job, roomBytes, parts);
      roomBytes -= takenBytes;
      if (queue === this.#queue) this.#waitingBytes -= takenBytes;
      queue.delete(job);
      if (!isStarted(job)) queue.add(job);
      if (roomBytes === 0 || parts.length === CALL_PARTS) break;
    }
    return parts;
  }

  async #run(copy: ProcessCopy, peer: MemoryPeer, opcode: 'read' | 'write', parts: readonly Part[]): Promise<void> {
    let passage: Passage;
    try {
      passage = peer.enter(opcode, parts);
    } catch (cause) {
      peer.onLost();
      for (const part of parts) this.#settle(part, lostError(part, 'it has ended or closed', cause));
      return;
    }
    const allowed = parts.filter((_, index) => passage.isAllowed[index]);
    const { copiedBytes, errno } = await peer.copy(copy, opcode, allowed);
    const isKept = passage.leave();
    const isLost = errno !== 0 && errno !== EFAULT;
    if (isLost) peer.onLost();
    let restBytes = copiedBytes;
    let isBehindFault = false;
    parts.forEach((part, index) => {
      if (passage.isAllowed[index] !== true || isKept[index] !== true) this.#settle(part, rejectedError(part));
      else if (isLost) this.#settle(part, lostError(part, nameOf(errno)));
      else if (isBehindFault) this.#putBack(part);
      else if (restBytes >= part.lengthBytes) {
        restBytes -= part.lengthBytes;
        part.job.request.onProgress(part.lengthBytes);
        this.#settle(part);
      } else {
        isBehindFault = true;
        this.#settle(part, faultError(part));
      }
    });
  }

  #putBack({ job, offset, lengthBytes }: Part): void {
    job.running -= 1;
    if (job.end === undefined) {
      job.left.push({ offset, lengthBytes });
      this.#enqueue(job, lengthBytes);
    } else this.#finish(job);
  }

  #settle({ job }: Part, error?: P2PStoreError): void {
    job.running -= 1;
    if (error === undefined) this.#finish(job);
    else this.#end(job, error);
  }

  /** Nothing more of it is started; it settles once nothing of it runs. */
  #end(job: Job, end: P2PStoreError | 'canceled'): void {
    job.end ??= end;
    this.#drop(job);
    this.#finish(job);
  }

  #finish(job: Job): void {
    if (job.running > 0 || (job.end === undefined && !isStarted(job))) return;
    if (this.#jobs.delete(job.request)) job.request.onSettled(job.end);
  }

  /** Cancels what is left and waits until no call runs. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const request of [...this.#jobs.keys()]) this.cancel(request);
    await Promise.all(this.#calls);
    for (const copy of this.#idle.splice(0)) copy.free();
  }
}

function isUrgent({ request }: Job): boolean {
  return request.priority === 'high';
}

/** Whether nothing of it is left to start. */
function isStarted({ left, offset, request }: Job): boolean {
  return left.length === 0 && offset === request.lengthBytes;
}

/** Whether one call may serve both. */
function isAlike(one: Job, other: Job): boolean {
  return one.peer === other.peer && one.request.opcode === other.request.opcode;
}

/** Adds what is left of a job, as far as there is room. Returns how many bytes that are. */
function takeParts(job: Job, roomBytes: number, parts: Part[]): number {
  let takenBytes = 0;
  while (parts.length < CALL_PARTS) {
    const part = takePart(job, roomBytes - takenBytes);
    if (part === undefined) break;
    takenBytes += part.lengthBytes;
    parts.push(part);
  }
  return takenBytes;
}

function takePart(job: Job, roomBytes: number): Part | undefined {
  const { request } = job;
  const [again] = job.left;
  const offset = again?.offset ?? job.offset;
  const lengthBytes = Math.min(roomBytes, again?.lengthBytes ?? request.lengthBytes - offset);
  if (lengthBytes === 0) return undefined;
  if (again === undefined) job.offset += lengthBytes;
  else {
    job.left.shift();
    const restBytes = again.lengthBytes - lengthBytes;
    if (restBytes > 0) job.left.unshift({ offset: offset + lengthBytes, lengthBytes: restBytes });
  }
  job.running += 1;
  const { localAddress, remoteAddress } = request;
  return { job, offset, localAddress: localAddress + offset, remoteAddress: remoteAddress + offset, lengthBytes };
}

function nameOf(errno: number): string {
  if (errno === ESRCH) return 'it has ended';
  return errno === EPERM ? 'the kernel forbids it now' : `the kernel answered with error ${errno}`;
}

function factsOf({ job: { request }, remoteAddress, lengthBytes }: Part): {
  readonly peer: string;
  readonly address: bigint;
  readonly lengthBytes: number;
} {
  return { peer: request.segment.name, address: BigInt(remoteAddress), lengthBytes };
}

function lostError(part: Part, reason: string, cause?: unknown): P2PStoreError {
  const { opcode, segment } = part.job.request;
  const message = `Cannot ${opcode} memory of the process of ${segment.name}: ${reason}`;
  return new P2PStoreError(ErrorCode.TransferFailed, message, factsOf(part), { cause });
}

function rejectedError(part: Part): P2PStoreError {
  const { opcode, segment } = part.job.request;
  const message = `Cannot ${opcode} memory of the process of ${segment.name}: it has not registered that range for it`;
  return new P2PStoreError(ErrorCode.TransferRejected, message, factsOf(part));
}

function faultError({ localAddress, lengthBytes }: Part): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.MemoryFault,
    'Cannot copy between processes: memory of one of them is not mapped any more, or its file was truncated or is out of space',
    { address: BigInt(localAddress), lengthBytes },
  );
}
