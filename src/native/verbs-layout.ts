/**
 * Where the fields of libibverbs' structures lie, in bytes, on 64-bit Linux (x86-64 and arm64 are alike). The library
 * keeps these stable: version IBVERBS_1.1 of its symbols, rdma-core 17 and later.
 *
 * @see `infiniband/verbs.h` of rdma-core.
 */

/** `struct ibv_context`: functions that the header defines inline are called through its table. */
export const CONTEXT = { pollCq: 96, requestNotify: 104, postSend: 208 } as const;

export const MEMORY_REGION = { localKey: 36, remoteKey: 40 } as const;
export const QUEUE_PAIR_NUMBER = 52;
export const CHANNEL_FD = 8;

/** `struct ibv_send_wr`. */
export const SEND = {
  bytes: 128,
  id: 0,
  next: 8,
  sgeList: 16,
  sgeCount: 24,
  opcode: 28,
  flags: 32,
  remoteAddress: 40,
  remoteKey: 48,
} as const;
export const SEND_SIGNALED = 2;
export const SEND_OPCODE = { write: 0, read: 4 } as const;

/** `struct ibv_sge`. */
export const SGE = { bytes: 16, address: 0, length: 8, localKey: 12 } as const;

/** `struct ibv_wc`. */
export const COMPLETION = { bytes: 48, id: 0, status: 8, vendorError: 16, queuePair: 28 } as const;

/** `struct ibv_qp_init_attr`. */
export const QP_INIT = {
  bytes: 64,
  sendCq: 8,
  receiveCq: 16,
  maxSendRequests: 32,
  maxReceiveRequests: 36,
  maxSendSges: 40,
  maxReceiveSges: 44,
  type: 52,
} as const;
export const QP_TYPE_RC = 2;

/** `struct ibv_qp_attr`. */
export const QP = {
  bytes: 144,
  state: 0,
  pathMtu: 8,
  receivePsn: 20,
  sendPsn: 24,
  remoteQueuePair: 28,
  accessFlags: 32,
  remoteGid: 56,
  localGidIndex: 76,
  hopLimit: 77,
  trafficClass: 78,
  remoteLid: 80,
  serviceLevel: 82,
  isGlobal: 85,
  addressPort: 86,
  pkeyIndex: 120,
  maxReadsOut: 126,
  maxReadsIn: 127,
  minRnrTimer: 128,
  port: 129,
  timeout: 130,
  retries: 131,
  rnrRetries: 132,
} as const;
export const QP_STATE = { init: 1, readyToReceive: 2, readyToSend: 3, error: 6 } as const;

/**
 * Which fields `ibv_modify_qp` takes on the way to each state. init: state, partition key, port, access flags (1 8 16 32).
 * readyToReceive: state, address, path MTU, receive PSN, reads in, RNR timer, remote queue pair (1 128 256 4096 2^17 2^15 2^20).
 * readyToSend: state, timeout, retries, RNR retries, reads out, send PSN (1 512 1024 2048 8192 65536).
 */
export const QP_MASK = { error: 0x1, init: 0x39, readyToReceive: 0x12_9181, readyToSend: 0x1_2e01 } as const;

/** `struct ibv_port_attr`, the fields that `ibv_query_port` has always filled. */
export const PORT = { bytes: 64, state: 0, activeMtu: 8, maxMessageBytes: 20, lid: 34, linkLayer: 46 } as const;

/** `struct ibv_device_attr`. */
export const DEVICE = { bytes: 232, maxQueuePairs: 108, maxRequests: 112, maxReadsIn: 144, maxReadsOut: 156 } as const;

export const ACCESS = {
  localWrite: 1,
  remoteWrite: 2,
  remoteRead: 4,
  relaxedOrdering: 0x10_0000,
} as const;
