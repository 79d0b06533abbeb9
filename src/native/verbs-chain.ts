import { assert } from '../core/assert.ts';
import { systemCallError } from './libc.ts';
import { Scratch } from './scratch.ts';
import type { DeviceFunctions } from './verbs-device.ts';
import { SEND, SEND_OPCODE, SEND_SIGNALED, SGE } from './verbs-layout.ts';

export interface OneSidedRequest {
  /** Comes back with the completion; below 2^53. */
  readonly id: number;
  readonly opcode: 'read' | 'write';
  readonly localAddress: number;
  readonly localKey: number;
  readonly remoteAddress: number;
  readonly remoteKey: number;
  /** 0 asks only whether the peer is there; then no address and key matters. */
  readonly lengthBytes: number;
}

/**
 * Work requests as the driver reads them: `capacity` slots of `struct ibv_send_wr`, each with its one `struct ibv_sge`, in
 * memory with a fixed address. One call hands over as many as have been added.
 */
export class SendChain {
  readonly #scratch: Scratch;
  readonly #capacity: number;
  readonly #sgesAt: number;
  readonly #badAt: number;
  #length = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#sgesAt = capacity * SEND.bytes;
    this.#badAt = this.#sgesAt + capacity * SGE.bytes;
    this.#scratch = new Scratch(this.#badAt + 8);
    for (let index = 0; index < capacity; index++) {
      const at = index * SEND.bytes;
      this.#scratch.setUint64(at + SEND.sgeList, this.#scratch.address + this.#sgesAt + index * SGE.bytes);
      this.#scratch.view.setUint32(at + SEND.flags, SEND_SIGNALED, true); // each says by itself what became of it
    }
  }

  get length(): number {
    return this.#length;
  }

  get isFull(): boolean {
    return this.#length === this.#capacity;
  }

  add({ id, opcode, localAddress, localKey, remoteAddress, remoteKey, lengthBytes }: OneSidedRequest): void {
    assert(!this.isFull, 'a chain has room');
    const scratch = this.#scratch;
    const { view, address } = scratch;
    const at = this.#length * SEND.bytes;
    const sgeAt = this.#sgesAt + this.#length * SGE.bytes;
    if (this.#length > 0) scratch.setUint64(at - SEND.bytes + SEND.next, address + at);
    this.#length += 1;
    scratch.setUint64(at + SEND.id, id);
    scratch.setUint64(at + SEND.next, 0);
    view.setInt32(at + SEND.sgeCount, lengthBytes === 0 ? 0 : 1, true);
    view.setInt32(at + SEND.opcode, SEND_OPCODE[opcode], true);
    scratch.setUint64(at + SEND.remoteAddress, remoteAddress);
    view.setUint32(at + SEND.remoteKey, remoteKey, true);
    scratch.setUint64(sgeAt + SGE.address, localAddress);
    view.setUint32(sgeAt + SGE.length, lengthBytes, true);
    view.setUint32(sgeAt + SGE.localKey, localKey, true);
  }

  /**
   * Hands all that were added to a queue pair, and empties the chain.
   *
   * @returns How many the queue pair took, from the first on, and why it refused the next one.
   */
  post(functions: DeviceFunctions, queuePair: number): { readonly posted: number; readonly error?: Error } {
    const { address } = this.#scratch;
    const length = this.#length;
    this.#length = 0;
    if (length === 0) return { posted: 0 };
    const result = functions.postSend(queuePair, address, address + this.#badAt);
    if (result === 0) return { posted: length };
    const bad = this.#scratch.getUint64(this.#badAt);
    const error = systemCallError('ibv_post_send', Math.abs(result));
    return { posted: Math.max(0, Math.min(length, (bad - address) / SEND.bytes)), error };
  }

  free(): void {
    this.#scratch.free();
  }
}
