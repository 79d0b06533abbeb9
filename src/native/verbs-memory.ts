/** Memory that a card may read and write by itself. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { koffi, systemCallError } from './libc.ts';
import type { VerbsDevice } from './verbs-device.ts';
import { ACCESS, MEMORY_REGION } from './verbs-layout.ts';
import { hasVerbsFunction, requireZeroOutcome, verbsAsyncFunction } from './verbs-library.ts';

const REG_MR_IOVA2 =
  'uintptr_t ibv_reg_mr_iova2(uintptr_t pd, uintptr_t address, size_t length, uint64_t iova, uint access)';
const REG_DMABUF_MR =
  'uintptr_t ibv_reg_dmabuf_mr(uintptr_t pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access)';

const regMr = verbsAsyncFunction<[number, number, number, number], number>(
  'uintptr_t ibv_reg_mr(uintptr_t pd, uintptr_t address, size_t length, int access)',
);
const regMrIova = verbsAsyncFunction<[number, number, number, number, number], number>(REG_MR_IOVA2);
const regDmabufMr = verbsAsyncFunction<[number, number, number, number, number, number], number>(REG_DMABUF_MR);
const deregMr = verbsAsyncFunction<[number], number>('int ibv_dereg_mr(uintptr_t mr)');

/** What peers may do with a registration. */
export interface RemoteAccess {
  readonly isReadable: boolean;
  readonly isWritable: boolean;
}

/** Where memory of a GPU lies for a card, when the driver exports it so. */
export interface DmabufPart {
  readonly fd: number;
  /** Of the memory inside the file. */
  readonly offset: number;
}

/** A registration with one card. */
export interface CardMemory {
  readonly handle: number;
  readonly localKey: number;
  readonly remoteKey: number;
}

function accessFlags({ isReadable, isWritable }: RemoteAccess): number {
  return ACCESS.localWrite | (isReadable ? ACCESS.remoteRead : 0) | (isWritable ? ACCESS.remoteWrite : 0);
}

let hasOptionalAccess: boolean | undefined;

/**
 * Pins `[address, address + lengthBytes)` and lets the card reach it, on another thread: pinning cold memory takes as long as
 * touching it. The address is passed on as it is, so that memory of a GPU works where the driver knows its addresses.
 *
 * @throws P2P_SYSTEM_CALL_FAILED ENOMEM: more than the process may lock. EFAULT: no memory is there. EOPNOTSUPP: the card
 * takes no dma-buf.
 * @throws P2P_UNSUPPORTED The library is too old for dma-bufs.
 */
export async function registerCardMemory(
  device: VerbsDevice,
  address: number,
  lengthBytes: number,
  access: RemoteAccess,
  dmabuf?: DmabufPart,
): Promise<CardMemory> {
  const flags = accessFlags(access);
  const { call, outcome } = await register(device.domain, address, lengthBytes, flags, dmabuf);
  if (outcome.result === 0) throw systemCallError(`${call} ${lengthBytes} bytes with ${device.name}`, outcome.errno);
  const handle = outcome.result;
  const key = (offset: number): number => koffi().decode(BigInt(handle + offset), 'uint32_t') as number;
  return { handle, localKey: key(MEMORY_REGION.localKey), remoteKey: key(MEMORY_REGION.remoteKey) };
}

async function register(
  domain: number,
  address: number,
  lengthBytes: number,
  flags: number,
  dmabuf: DmabufPart | undefined,
): Promise<{ readonly call: string; readonly outcome: { readonly result: number; readonly errno: number } }> {
  if (dmabuf !== undefined) {
    if (!hasVerbsFunction(REG_DMABUF_MR)) {
      const message = 'Cannot register memory of a GPU: the libibverbs here takes no dma-buf';
      throw new P2PStoreError(ErrorCode.Unsupported, message, { feature: 'dma-buf' });
    }
    const outcome = await regDmabufMr(domain, dmabuf.offset, lengthBytes, address, dmabuf.fd, flags);
    return { call: 'ibv_reg_dmabuf_mr', outcome };
  }
  hasOptionalAccess ??= hasVerbsFunction(REG_MR_IOVA2);
  if (!hasOptionalAccess) return { call: 'ibv_reg_mr', outcome: await regMr(domain, address, lengthBytes, flags) };
  // Data may arrive in any order, as completions tell when it is there; drivers that know no such thing ignore it.
  const relaxed = flags | ACCESS.relaxedOrdering;
  const outcome = await regMrIova(domain, address, lengthBytes, address, relaxed);
  return { call: 'ibv_reg_mr', outcome };
}

/** Resolves when the card cannot reach the memory any more, whatever a peer asks. */
export async function deregisterCardMemory({ handle }: CardMemory): Promise<void> {
  requireZeroOutcome(await deregMr(handle), 'ibv_dereg_mr');
}
