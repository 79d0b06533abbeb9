import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { mapAnonymous, unmap } from '../native/mapping.ts';
import { MAX_VIEW_BYTES, viewMemory } from '../native/view.ts';

/** What a region is made of. Whoever makes the mapping hands it over: the region unmaps it. */
export interface RegionMapping {
  /** 0 when the region is empty and nothing is mapped. */
  readonly address: number;
  readonly sizeBytes: number;
  readonly kind: 'anonymous' | 'file';
  readonly isWritable: boolean;
  /** The file, when there is one. */
  readonly path?: string;
}

const openRegions = new Set<MemoryRegion>();

/** Every region of this process that is not closed yet. */
export function listOpenRegions(): Iterable<MemoryRegion> {
  return openRegions;
}

/** How many regions wait for their `close()`; tests look here for leaks. */
export function countOpenRegions(): number {
  return openRegions.size;
}

/**
 * Memory outside the JavaScript heap: as large as the machine allows, at a fixed address, for `register` and
 * `getReplica`. Comes from {@link allocate}, `mapFile` and `createMappedFile`.
 *
 * Close it when nothing uses it any more: unregister it first, and drop the views. Touching a view of a closed region
 * ends the process.
 */
export class MemoryRegion implements AsyncDisposable {
  /** Virtual address of the first byte; 0 when the region is empty. */
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly kind: 'anonymous' | 'file';
  /** Whether bytes can be received into it. */
  readonly isWritable: boolean;
  /** The mapped file, as it was named. */
  readonly path: string | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Takes over the mapping; use {@link allocate} or `mapFile`. */
  constructor(mapping: RegionMapping) {
    this.address = BigInt(mapping.address);
    this.sizeBytes = mapping.sizeBytes;
    this.kind = mapping.kind;
    this.isWritable = mapping.isWritable;
    this.path = mapping.path;
    openRegions.add(this);
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Views a part of the memory without copying.
   *
   * @param offsetBytes - From the start of the region. Default 0.
   * @param lengthBytes - At most 4 GiB, the longest array of Node 20. Default: up to the end.
   * @throws P2P_UNSUPPORTED For a file mapping: if anybody truncates the file, touching the view ends the process, and no
   * check before the touch can rule that out.
   * @throws P2P_INVALID_ARGUMENT When the part leaves the region or is too long for one view.
   * @throws P2P_CLOSED After `close()`.
   */
  view(offsetBytes = 0, lengthBytes: number = this.sizeBytes - offsetBytes): Uint8Array {
    if (this.isClosed) {
      const context = { resource: 'memory region' };
      throw new P2PStoreError(ErrorCode.Closed, 'Cannot view memory: the region is closed', context);
    }
    if (this.kind === 'file') {
      throw new P2PStoreError(
        ErrorCode.Unsupported,
        'Cannot view a file mapping: touching it after the file was truncated would end the process; read the file instead',
        { feature: 'view of a file mapping' },
      );
    }
    if (!isOffset(offsetBytes) || offsetBytes > this.sizeBytes) {
      throw viewArgumentError('offsetBytes', `${offsetBytes} is not within the ${this.sizeBytes} bytes of the region`);
    }
    if (!isOffset(lengthBytes) || lengthBytes > this.sizeBytes - offsetBytes) {
      throw viewArgumentError('lengthBytes', `${lengthBytes} at ${offsetBytes} leaves the ${this.sizeBytes} bytes`);
    }
    if (lengthBytes > MAX_VIEW_BYTES) {
      throw viewArgumentError('lengthBytes', `${lengthBytes} is above ${MAX_VIEW_BYTES}, the longest view`);
    }
    return viewMemory(Number(this.address) + offsetBytes, lengthBytes);
  }

  /** Gives the memory back. The file of a mapping stays. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#release();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #release(): Promise<void> {
    openRegions.delete(this);
    if (this.sizeBytes > 0) await unmap(Number(this.address), this.sizeBytes);
  }
}

function isOffset(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function viewArgumentError(argument: string, state: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot view memory: ${state}`, { argument });
}

/**
 * Allocates zeroed memory outside the JavaScript heap. It takes no room until it is touched.
 *
 * @param sizeBytes - 0 or more; not limited to 4 GiB.
 * @returns Owned by the caller: `close()` frees it.
 * @throws P2P_INVALID_ARGUMENT When the size is not a whole number of bytes.
 * @throws P2P_SYSTEM_CALL_FAILED When the system will not promise that much memory.
 */
export function allocate(sizeBytes: number): MemoryRegion {
  if (!isOffset(sizeBytes)) {
    throw new P2PStoreError(
      ErrorCode.InvalidArgument,
      `Cannot allocate memory: ${sizeBytes} is not a whole number of bytes`,
      { argument: 'sizeBytes' },
    );
  }
  const address = sizeBytes === 0 ? 0 : mapAnonymous(sizeBytes);
  return new MemoryRegion({ address, sizeBytes, kind: 'anonymous', isWritable: true });
}
