import { koffi } from './libc.ts';
import type { VerbsDevice } from './verbs-device.ts';
import { ACCESS, QP, QP_INIT, QP_MASK, QP_STATE, QP_TYPE_RC, QUEUE_PAIR_NUMBER } from './verbs-layout.ts';
import { requirePointer, requireZero, verbsFunction } from './verbs-library.ts';

const createQp = verbsFunction<[number, number], number>('uintptr_t ibv_create_qp(uintptr_t pd, uintptr_t attributes)');
const modifyQp = verbsFunction<[number, number, number], number>(
  'int ibv_modify_qp(uintptr_t qp, uintptr_t attributes, int mask)',
);
const destroyQp = verbsFunction<[number], number>('int ibv_destroy_qp(uintptr_t qp)');

const HOP_LIMIT = 16;
const MIN_RNR_TIMER = 12;
const RETRIES = 7;

/** The other end of a queue pair, and how packets get there. */
export interface PairPath {
  readonly port: number;
  readonly localGidIndex: number;
  readonly remoteQueuePair: number;
  /** 16 bytes. */
  readonly remoteGid: Uint8Array;
  /** 0 on Ethernet. */
  readonly remoteLid: number;
  readonly mtu: number;
  readonly trafficClass: number;
  /** READs under way at once; both ends stay below what their cards can. */
  readonly maxReads: number;
  /** Time for an answer before a packet is sent again: 4.096 us x 2^timeout. */
  readonly timeout: number;
}

/** One reliable connected queue pair. Its requests complete in the order in which they were posted. */
export class QueuePair {
  readonly handle: number;
  readonly number: number;
  readonly #device: VerbsDevice;

  /** @param maxRequests - Posted and not yet completed. @throws P2P_SYSTEM_CALL_FAILED ENOMEM: the card has no more. */
  constructor(device: VerbsDevice, completionQueue: number, maxRequests: number) {
    this.#device = device;
    const { scratch } = device;
    const { view } = scratch;
    scratch.bytes.fill(0, 0, QP_INIT.bytes);
    scratch.setUint64(QP_INIT.sendCq, completionQueue);
    scratch.setUint64(QP_INIT.receiveCq, completionQueue);
    view.setUint32(QP_INIT.maxSendRequests, maxRequests, true);
    view.setUint32(QP_INIT.maxReceiveRequests, 1, true); // nothing is ever received
    view.setUint32(QP_INIT.maxSendSges, 1, true);
    view.setUint32(QP_INIT.maxReceiveSges, 1, true);
    view.setInt32(QP_INIT.type, QP_TYPE_RC, true);
    this.handle = requirePointer(createQp(device.domain, scratch.address), 'ibv_create_qp');
    this.number = koffi().decode(BigInt(this.handle + QUEUE_PAIR_NUMBER), 'uint32_t') as number;
  }

  #modify(mask: number, state: number, fill?: (view: DataView, bytes: Uint8Array) => void): void {
    const { bytes, view, address } = this.#device.scratch;
    bytes.fill(0, 0, QP.bytes);
    view.setInt32(QP.state, state, true);
    fill?.(view, bytes);
    requireZero(modifyQp(this.handle, address, mask), 'ibv_modify_qp');
  }

  /** From reset to ready to send. @throws P2P_SYSTEM_CALL_FAILED ENETUNREACH and the like: no way to that address. */
  connect(path: PairPath): void {
    this.#modify(QP_MASK.init, QP_STATE.init, (view) => {
      view.setUint32(QP.accessFlags, ACCESS.localWrite | ACCESS.remoteWrite | ACCESS.remoteRead, true);
      view.setUint8(QP.port, path.port);
    });
    this.#modify(QP_MASK.readyToReceive, QP_STATE.readyToReceive, (view, bytes) => {
      view.setInt32(QP.pathMtu, path.mtu, true);
      view.setUint32(QP.remoteQueuePair, path.remoteQueuePair, true);
      bytes.set(path.remoteGid, QP.remoteGid);
      view.setUint8(QP.localGidIndex, path.localGidIndex);
      view.setUint8(QP.hopLimit, HOP_LIMIT);
      view.setUint8(QP.trafficClass, path.trafficClass);
      view.setUint16(QP.remoteLid, path.remoteLid, true);
      view.setUint8(QP.isGlobal, 1);
      view.setUint8(QP.addressPort, path.port);
      view.setUint8(QP.maxReadsIn, path.maxReads);
      view.setUint8(QP.minRnrTimer, MIN_RNR_TIMER);
    });
    this.#modify(QP_MASK.readyToSend, QP_STATE.readyToSend, (view) => {
      view.setUint8(QP.maxReadsOut, path.maxReads);
      view.setUint8(QP.timeout, path.timeout);
      view.setUint8(QP.retries, RETRIES);
      view.setUint8(QP.rnrRetries, RETRIES);
    });
  }

  /** Ends all requests: each completes, as flushed, when the card has let go of its memory. */
  fail(): void {
    this.#modify(QP_MASK.error, QP_STATE.error);
  }

  /** From here on neither end can use it; completions that were not polled are lost. */
  destroy(): void {
    destroyQp(this.handle);
  }
}
