/** What the engine's thread and its I/O workers say to each other. Numbers travel packed, so that a batch is one message. */
import type { LocalEnd, SocketAddress } from '../../../native/sockets.ts';
import type { RegisteredRange } from '../../registered-ranges.ts';
import type { MovedBytes } from '../../transfer-counts.ts';
import type { RateLimit } from '../rate-limiter.ts';

/** Fields of one request in {@link SubmitMessage.packed}. */
export const REQUEST_FIELDS = 9;
/** Fields of one result in {@link SettledMessage.packed}. */
export const RESULT_FIELDS = 4;

/** How a request ended, as a number on the wire between threads. */
export const Outcome = {
  Done: 0,
  /** The peer refused the address. */
  Rejected: 1,
  /** The connection ended or stalled before this request was done. */
  Disconnected: 2,
  /** Local memory is gone: the kernel refused to touch it. */
  MemoryFault: 3,
  Canceled: 4,
  /** The peer answered in another framing than its descriptor says. */
  Protocol: 5,
  /** The connection ended while this request still waited behind others: not its fault. */
  Unstarted: 6,
  /** The peer has enough to send, and was allowed to say so. */
  Busy: 7,
  /** The peer has sent the same bytes to somebody else a moment ago, and was allowed to say so. */
  Sent: 8,
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/**
 * How an outgoing connection ended: never made; broken off by the peer or the network; silent while
 * it owed an answer; or closed by us for a reason that is not the peer's.
 */
export type ConnectionEnd = 'refused' | 'lost' | 'stalled' | 'closed';

export interface SubmitMessage {
  readonly kind: 'submit';
  readonly connectionId: number;
  /**
   * `[requestId, opcode (0 read, 1 write), localAddress, remoteAddress, lengthBytes, flow, queuedBytes, sentWithinMs, digest]` for
   * each request; queuedBytes and sentWithinMs are those of RefuseWhen, and queuedBytes is 0 for a request that must not be refused;
   * digest is 1 where the bytes are to be digested as they come.
   */
  readonly packed: Float64Array;
}

export interface ConnectMessage {
  readonly kind: 'connect';
  readonly connectionId: number;
  readonly to: SocketAddress;
  readonly version: 1 | 2;
  /** Undefined: the system chooses. */
  readonly from?: LocalEnd | undefined;
  /** Shorter than that of the worker. */
  readonly connectTimeoutMs?: number | undefined;
  /** Says that the peer is silent after so long, well before the connection counts as dead. */
  readonly silenceMs?: number | undefined;
}

/** What a worker answers to some calls. */
export interface CallResult {
  readonly port?: number;
  readonly served?: MovedBytes;
}

export type ToWorker =
  | SubmitMessage
  | { readonly kind: 'listen'; readonly at: SocketAddress; readonly callId: number }
  | { readonly kind: 'register'; readonly range: RegisteredRange; readonly callId: number }
  | { readonly kind: 'unregister'; readonly address: number; readonly callId: number }
  | { readonly kind: 'count'; readonly callId: number }
  | ConnectMessage
  | { readonly kind: 'disconnect'; readonly connectionId: number }
  | { readonly kind: 'cancel'; readonly connectionId: number; readonly requestIds: readonly number[] }
  | { readonly kind: 'stop' };

export interface SettledMessage {
  readonly kind: 'settled';
  /** `[requestId, outcome, high half of the digest or NaN, low half]` for each request. */
  readonly packed: Float64Array;
}

export type FromWorker =
  | SettledMessage
  /** Payload of a READ that has come so far, told now and then while it takes long. */
  | { readonly kind: 'progress'; readonly requestId: number; readonly payloadBytes: number }
  | { readonly kind: 'answer'; readonly callId: number; readonly result?: CallResult; readonly error?: string }
  | { readonly kind: 'connected'; readonly connectionId: number }
  /** It owes an answer and has sent nothing for a while; said again and again while that lasts. */
  | { readonly kind: 'silent'; readonly connectionId: number; readonly silentMs: number }
  /** The first byte from the peer. */
  | { readonly kind: 'answered'; readonly connectionId: number }
  | {
      readonly kind: 'disconnected';
      readonly connectionId: number;
      readonly reason: string;
      readonly end: ConnectionEnd;
    }
  | { readonly kind: 'memory-fault'; readonly address: number; readonly lengthBytes: number }
  | { readonly kind: 'stopped' };

/** What a worker is started with. */
export interface WorkerSetup {
  /** One Int32: 1 once the worker has let go of its sockets, so that the thread that waits for it may end the process. */
  readonly released: SharedArrayBuffer;
  /** Ports to the other workers, over which the listening one hands out accepted connections. */
  readonly siblings: readonly import('node:worker_threads').MessagePort[];
  readonly maxInboundConnections: number;
  /** Cards by their addresses: accepted connections to these leave through the card that they came to. */
  readonly cardOfAddress: ReadonlyMap<string, string>;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  /** A SendLoad, shared by all workers of an engine. */
  readonly sendLoad: SharedArrayBuffer;
  /** Shared by all workers of an engine; absent: no limit. */
  readonly uploadLimit: RateLimit | undefined;
  readonly downloadLimit: RateLimit | undefined;
}
