/**
 * Between engines of one process, and from an engine to itself: a copy. The kernel makes it, on other threads: a copy by the
 * processor would end the process where a file mapping has lost its file.
 */
import { randomUUID } from 'node:crypto';
import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { CopyOutcome, CopyPart, ProcessCopy } from '../../../native/process-memory.ts';
import { type RegisteredRange, RegisteredRanges } from '../../registered-ranges.ts';
import type { Segment } from '../../segment.ts';
import { MemoryMover, type MemoryPeer, type Passage } from '../memory-mover.ts';
import type { Reach, Transport, TransportRequest } from '../transport.ts';

/** The engines of this process, by what they publish. */
const engines = new Map<string, LoopbackTransport>();

export class LoopbackTransport implements Transport, MemoryPeer {
  readonly name = 'loopback';
  readonly endpoint: string = randomUUID();
  readonly #mover: MemoryMover = new MemoryMover();
  readonly #ranges = new RegisteredRanges();
  /** Calls of others, and own ones to itself, that touch what is registered here. */
  readonly #passages = new Map<Promise<void>, readonly RegisteredRange[]>();
  #closing: Promise<void> | undefined;

  constructor() {
    engines.set(this.endpoint, this);
  }

  canReach(segment: Segment): Reach {
    return this.#find(segment) === undefined
      ? { ok: false, reason: 'it is not in this process' }
      : { ok: true, reason: 'it is in this process' };
  }

  #find({ endpoints }: Segment): LoopbackTransport | undefined {
    const endpoint = endpoints?.['loopback'];
    return typeof endpoint === 'string' ? engines.get(endpoint) : undefined;
  }

  async register(range: RegisteredRange): Promise<void> {
    this.#ranges.add(range);
  }

  async unregister(address: number): Promise<void> {
    const range = this.#ranges.startingAt(address);
    if (range === undefined) return;
    this.#ranges.remove(address);
    await this.#untilLeft((held) => held.includes(range));
  }

  async #untilLeft(isMeant: (held: readonly RegisteredRange[]) => boolean): Promise<void> {
    const left = [...this.#passages].filter(([, held]) => isMeant(held)).map(([done]) => done);
    await Promise.all(left);
  }

  enter(opcode: 'read' | 'write', parts: readonly CopyPart[]): Passage {
    const ranges = parts.map(({ remoteAddress, lengthBytes }) => {
      const range = this.#ranges.containing(remoteAddress, lengthBytes);
      const isAllowed = opcode === 'read' ? range?.isReadable : range?.isWritable;
      return isAllowed === true ? range : undefined;
    });
    const isAllowed = ranges.map((range) => range !== undefined);
    const { promise, resolve } = withResolver();
    this.#passages.set(promise, [...new Set(ranges.filter((range) => range !== undefined))]);
    return {
      isAllowed,
      leave: () => {
        this.#passages.delete(promise);
        resolve();
        return isAllowed;
      },
    };
  }

  copy(call: ProcessCopy, opcode: 'read' | 'write', parts: readonly CopyPart[]): Promise<CopyOutcome> {
    return call.copy(opcode, process.pid, undefined, parts);
  }

  onLost(): void {} // our own process is always there

  submit(requests: readonly TransportRequest[]): void {
    for (const request of requests) {
      const peer = this.#closing === undefined ? this.#find(request.segment) : undefined;
      if (peer === undefined) request.onSettled(unreachable(request.segment));
      else this.#mover.submit(peer, request);
    }
  }

  cancel(requests: readonly TransportRequest[]): void {
    for (const request of requests) this.#mover.cancel(request);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    engines.delete(this.endpoint);
    for (const range of [...this.#ranges]) this.#ranges.remove(range.address);
    await this.#mover.close();
    await this.#untilLeft(() => true);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

function unreachable({ name }: Segment): P2PStoreError {
  const message = `Cannot reach segment ${name} without a network: its engine has closed`;
  return new P2PStoreError(ErrorCode.PeerUnreachable, message, { peer: name });
}
