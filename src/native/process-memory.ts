/** Copies between the memory of this process and of another one on the same host, by one system call for many ranges. */
import { constants } from 'node:os';
import { assert } from '../core/assert.ts';
import { errno, libcAsyncFunction, libcFunction } from './libc.ts';
import { Scratch } from './scratch.ts';

type CallArguments = [number, number, number, number, number, number];

const READV =
  'int64_t process_vm_readv(int pid, uintptr_t local, size_t localCount, uintptr_t remote, size_t remoteCount, size_t flags)';
const WRITEV =
  'int64_t process_vm_writev(int pid, uintptr_t local, size_t localCount, uintptr_t remote, size_t remoteCount, size_t flags)';
const readv = libcFunction<CallArguments, number>(READV);
const writev = libcFunction<CallArguments, number>(WRITEV);
const readvAsync = libcAsyncFunction<CallArguments, number>(READV);
const writevAsync = libcAsyncFunction<CallArguments, number>(WRITEV);

const IOVEC_BYTES = 16;
/** Below this the copy takes less time than handing it to another thread. */
const SYNCHRONOUS_BYTES_MAX = 64 * 1024;
const { ESRCH, EFAULT } = constants.errno;

/** Length of the bytes by which a process is known. */
export const MARK_BYTES = 16;

/** Bytes at a known place by which a process is told from another one that has got its id. */
export interface ProcessMark {
  readonly address: number;
  /** {@link MARK_BYTES} of them. */
  readonly bytes: Uint8Array;
}

export interface CopyPart {
  readonly localAddress: number;
  readonly remoteAddress: number;
  readonly lengthBytes: number;
}

export interface CopyOutcome {
  /** Bytes of the parts, in their order, that were copied. Less than all: the next page cannot be touched on one of the sides. */
  readonly copiedBytes: number;
  /** Why nothing was copied; 0 when something was. ESRCH too when the process is not the one that is meant. */
  readonly errno: number;
}

/** Room for one copy at a time between this process and others. */
export class ProcessCopy {
  readonly #scratch: Scratch;
  readonly #maxParts: number;

  /** @param maxParts - Ranges a call, 1 to 1,000: the kernel takes 1,024. */
  constructor(maxParts: number) {
    assert(maxParts >= 1 && maxParts <= 1000, 'the kernel takes so many parts at once');
    this.#maxParts = maxParts;
    this.#scratch = new Scratch(2 * IOVEC_BYTES * (maxParts + 1) + MARK_BYTES);
  }

  get #remoteAt(): number {
    return IOVEC_BYTES * (this.#maxParts + 1);
  }

  get #markAt(): number {
    return 2 * this.#remoteAt;
  }

  /**
   * Copies parts, at most 2 GiB in all: small ones at once, larger ones on another thread.
   *
   * @param mark - Of the process that is meant; undefined: any that has this id, as our own. What is read from another one counts as
   * not copied; nothing is written to it.
   */
  async copy(
    opcode: 'read' | 'write',
    pid: number,
    mark: ProcessMark | undefined,
    parts: readonly CopyPart[],
  ): Promise<CopyOutcome> {
    assert(parts.length <= this.#maxParts, 'the parts fit');
    if (opcode === 'write' && mark !== undefined) {
      const failure = this.probe(pid, mark);
      if (failure !== 0) return { copiedBytes: 0, errno: failure };
    }
    const marked = opcode === 'read' ? mark : undefined;
    const { count, totalBytes } = this.#fill(marked, parts);
    const { address } = this.#scratch;
    const call: CallArguments = [pid, address, count, address + this.#remoteAt, count, 0];
    const outcome = await invoke(opcode, call, totalBytes <= SYNCHRONOUS_BYTES_MAX);
    return this.#judge(marked, outcome);
  }

  /** @returns 0 when the process is there, may be read and is the one that is meant; else the errno, ESRCH for another one. */
  probe(pid: number, mark: ProcessMark): number {
    const { address } = this.#scratch;
    this.#fill(mark, []);
    const result = readv(pid, address, 1, address + this.#remoteAt, 1, 0);
    return this.#judge(mark, { result, errno: result < 0 ? errno() : 0 }).errno;
  }

  #fill(mark: ProcessMark | undefined, parts: readonly CopyPart[]): { count: number; totalBytes: number } {
    let count = 0;
    let totalBytes = 0;
    const add = (localAddress: number, remoteAddress: number, lengthBytes: number): void => {
      const at = IOVEC_BYTES * count;
      this.#scratch.setUint64(at, localAddress);
      this.#scratch.setUint64(at + 8, lengthBytes);
      this.#scratch.setUint64(this.#remoteAt + at, remoteAddress);
      this.#scratch.setUint64(this.#remoteAt + at + 8, lengthBytes);
      count += 1;
      totalBytes += lengthBytes;
    };
    // First in the same call, so that it is the same process that the rest comes from.
    if (mark !== undefined) add(this.#scratch.address + this.#markAt, mark.address, MARK_BYTES);
    for (const { localAddress, remoteAddress, lengthBytes } of parts) add(localAddress, remoteAddress, lengthBytes);
    return { count, totalBytes };
  }

  #judge(mark: ProcessMark | undefined, { result, errno: failure }: { result: number; errno: number }): CopyOutcome {
    const hasOtherMemory = mark !== undefined && failure === EFAULT; // not even the mark is there
    if (result < 0) return { copiedBytes: 0, errno: hasOtherMemory ? ESRCH : failure };
    if (mark === undefined) return { copiedBytes: result, errno: 0 };
    const found = this.#scratch.bytes.subarray(this.#markAt, this.#markAt + MARK_BYTES);
    const isMeant = result >= MARK_BYTES && Buffer.compare(found, mark.bytes) === 0;
    return isMeant ? { copiedBytes: result - MARK_BYTES, errno: 0 } : { copiedBytes: 0, errno: ESRCH };
  }

  /** Not while a copy is under way. */
  free(): void {
    this.#scratch.free();
  }
}

async function invoke(
  opcode: 'read' | 'write',
  call: CallArguments,
  isSmall: boolean,
): Promise<{ result: number; errno: number }> {
  if (!isSmall) return opcode === 'read' ? readvAsync(...call) : writevAsync(...call);
  const result = opcode === 'read' ? readv(...call) : writev(...call);
  return { result, errno: result < 0 ? errno() : 0 };
}
