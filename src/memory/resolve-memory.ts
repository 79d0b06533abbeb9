import { types } from 'node:util';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { addressOf } from '../native/address.ts';
import { isCovered, type MappedPages, readAddressSpace } from '../native/address-space.ts';
import { isReadable } from '../native/copy.ts';
import type { MemoryRange } from './memory-range.ts';
import { listOpenRegions, MemoryRegion } from './memory-region.ts';

/** One buffer as a caller names it: where it begins. Its length comes from the size list. */
export type MemoryInput = bigint | ArrayBufferView | ArrayBuffer | SharedArrayBuffer | MemoryRegion;

export interface ResolvedMemory {
  /** In the order of the call, empty ones included. */
  readonly ranges: readonly MemoryRange[];
  /** What keeps the memory alive. Hold on to it for as long as the ranges are used. */
  readonly owners: readonly unknown[];
  readonly totalBytes: number;
}

/** User addresses of x86-64 and arm64 end below this, and doubles hold such addresses exactly. */
const ADDRESS_LIMIT = 2 ** 52;

/**
 * Turns what a caller passed as memory into address ranges, without touching or copying it.
 *
 * Heap views and anonymous regions of ours are `direct`. A bare address is `guarded` unless it lies in such a region: its
 * pages must be mapped with the rights needed now, but their owner may unmap them at any time.
 *
 * The bytes behind an ArrayBuffer must not be transferred to another thread while the ranges are in use.
 *
 * @param sizeList - Bytes of each entry; at most those of the view or region.
 * @param rights.writable - Whether bytes will be received into the memory.
 * @throws P2P_INVALID_ARGUMENT When the lists do not match, a size leaves its view, an address is not mapped or not
 * writable where asked, or a buffer is resizable, as shrinking it would unmap its end.
 * @throws P2P_ADDRESS_OVERLAPPED When two ranges of the call share a byte.
 * @throws P2P_CLOSED When a region is closed.
 */
export function resolveMemory(
  addrList: readonly MemoryInput[],
  sizeList: readonly number[],
  rights: { readonly writable: boolean },
): ResolvedMemory {
  if (!Array.isArray(addrList)) throw argumentError('addrList', 'it is not an array');
  if (!Array.isArray(sizeList)) throw argumentError('sizeList', 'it is not an array');
  if (addrList.length !== sizeList.length) {
    throw argumentError('sizeList', `${sizeList.length} sizes for ${addrList.length} addresses`);
  }
  const totalBytes = sumSizes(sizeList);
  const resolver = new AddressResolver(rights);
  const ranges = addrList.map((input: MemoryInput, index) => resolver.resolve(input, sizeList[index] ?? 0, index));
  requireDisjoint(ranges);
  return { ranges, owners: addrList.filter((input) => typeof input !== 'bigint'), totalBytes };
}

function argumentError(argument: string, state: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot use memory: ${argument}: ${state}`, { argument });
}

function sumSizes(sizeList: readonly number[]): number {
  let total = 0;
  for (const [index, size] of sizeList.entries()) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw argumentError(`sizeList[${index}]`, `${String(size)} is not a whole number of bytes`);
    }
    total += size;
  }
  if (!Number.isSafeInteger(total)) throw argumentError('sizeList', 'the sizes add up to more than 2^53 bytes');
  return total;
}

function requireDisjoint(ranges: readonly MemoryRange[]): void {
  const ordered = ranges.filter((range) => range.lengthBytes > 0).sort((a, b) => a.address - b.address);
  let end = 0;
  for (const { address, lengthBytes } of ordered) {
    if (address < end) {
      throw new P2PStoreError(
        ErrorCode.AddressOverlapped,
        `Cannot use memory: the ${lengthBytes} bytes at 0x${address.toString(16)} overlap another range of the call`,
        { address: BigInt(address), lengthBytes },
      );
    }
    end = address + lengthBytes;
  }
}

/** Resolves the entries of one call; looks at regions and mappings once, and only if a bare address asks for it. */
class AddressResolver {
  readonly #writable: boolean;
  #anonymousRegions: readonly MappedPages[] | undefined;
  #addressSpace: readonly MappedPages[] | undefined;

  constructor(rights: { readonly writable: boolean }) {
    this.#writable = rights.writable;
  }

  resolve(input: MemoryInput, lengthBytes: number, index: number): MemoryRange {
    const argument = `addrList[${index}]`;
    if (typeof input === 'bigint') return this.#resolveAddress(input, lengthBytes, argument);
    if (input instanceof MemoryRegion) return this.#resolveRegion(input, lengthBytes, argument);
    if (!ArrayBuffer.isView(input) && !types.isAnyArrayBuffer(input)) {
      throw argumentError(argument, 'it is neither an address nor a buffer, view or memory region');
    }
    const buffer: object = ArrayBuffer.isView(input) ? input.buffer : input;
    if ('resizable' in buffer && buffer.resizable === true) {
      throw argumentError(argument, 'the buffer is resizable');
    }
    requireWithin(lengthBytes, input.byteLength, argument);
    return { address: addressOf(input), lengthBytes, access: 'direct' };
  }

  #resolveRegion(region: MemoryRegion, lengthBytes: number, argument: string): MemoryRange {
    if (region.isClosed) {
      const context = { resource: 'memory region' };
      throw new P2PStoreError(ErrorCode.Closed, `Cannot use memory: ${argument}: the region is closed`, context);
    }
    if (this.#writable && !region.isWritable) throw argumentError(argument, 'the file is mapped for reading only');
    requireWithin(lengthBytes, region.sizeBytes, argument);
    return {
      address: Number(region.address),
      lengthBytes,
      access: region.kind === 'anonymous' ? 'direct' : 'guarded',
    };
  }

  #resolveAddress(input: bigint, lengthBytes: number, argument: string): MemoryRange {
    const address = Number(input);
    if (input < 0n || address + lengthBytes > ADDRESS_LIMIT) {
      throw argumentError(argument, `${lengthBytes} bytes at ${input} leave the address space of a process`);
    }
    if (lengthBytes === 0) return { address, lengthBytes, access: 'guarded' };
    if (input === 0n) throw argumentError(argument, 'the address is 0');
    this.#anonymousRegions ??= listAnonymousRegions();
    const writable = this.#writable;
    if (isCovered(this.#anonymousRegions, address, lengthBytes, { writable })) {
      return { address, lengthBytes, access: 'direct' };
    }
    this.#addressSpace ??= readAddressSpace() ?? [];
    const isMapped =
      this.#addressSpace.length === 0 || isCovered(this.#addressSpace, address, lengthBytes, { writable });
    // A page behind the end of a mapped file is in the kernel's list, yet cannot be read.
    if (!isMapped || !isReadable(address, lengthBytes)) {
      const need = writable ? 'readable and writable' : 'readable';
      throw argumentError(argument, `the ${lengthBytes} bytes at 0x${address.toString(16)} are not mapped and ${need}`);
    }
    return { address, lengthBytes, access: 'guarded' };
  }
}

function requireWithin(lengthBytes: number, availableBytes: number, argument: string): void {
  if (lengthBytes > availableBytes) {
    throw argumentError(argument, `its size is given as ${lengthBytes} bytes, it has ${availableBytes}`);
  }
}

function listAnonymousRegions(): readonly MappedPages[] {
  return [...listOpenRegions()]
    .filter((region) => region.kind === 'anonymous' && region.sizeBytes > 0)
    .map((region) => {
      const start = Number(region.address);
      return { start, end: start + region.sizeBytes, isReadable: true, isWritable: true };
    })
    .sort((a, b) => a.start - b.start);
}
