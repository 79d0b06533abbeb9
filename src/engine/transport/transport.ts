/**
 * What every way to move bytes promises to the engine: inside one process, between processes of one host, RDMA, TCP. The
 * contract suite in `test/contract/transport.ts` checks it.
 */
import { ErrorCode, isP2PStoreError, type P2PStoreError } from '../../core/errors.ts';
import type { RegisteredRange } from '../registered-ranges.ts';
import type { Segment } from '../segment.ts';
import type { RefuseWhen, TransferPriority } from '../transfer.ts';

/** All transports there are, the one that is preferred first. */
export const TRANSPORT_NAMES = ['loopback', 'local', 'rdma', 'tcp'] as const;
export type TransportName = (typeof TRANSPORT_NAMES)[number];

export interface TransportRequest {
  readonly opcode: 'read' | 'write';
  readonly segment: Segment;
  readonly localAddress: number;
  readonly remoteAddress: number;
  /** At least 1. */
  readonly lengthBytes: number;
  /** Of a READ; one that is cut, that a peer of version 1 serves, or that needs no help of the peer is never refused. */
  readonly refuseWhen?: RefuseWhen | undefined;
  /** Of a READ: whoever reads its bytes from a stream digests them as they come. Others need not. */
  readonly digestAlgorithm?: 'xxh64' | undefined;
  /** Absent: `normal`. */
  readonly priority?: TransferPriority | undefined;
  /** Who moves it, or moved it last; kept by the router, for the counts. */
  carrier?: TransportName | undefined;
  /** Bytes that have been moved since the last call; all of them once it is done. */
  onProgress(bytes: number): void;
  /**
   * Called once, when nothing touches the local memory any more.
   *
   * @param error - Undefined on success; `canceled` after {@link Transport.cancel}. See {@link isWayLost} for what the
   * code of an error makes others do.
   * @param digest - Of the bytes as they came, if that was asked and is known.
   */
  onSettled(error: P2PStoreError | 'canceled' | undefined, digest?: Uint8Array): void;
}

/** Whether a transport leads to a segment, and why; the reason is for people. */
export interface Reach {
  readonly ok: boolean;
  readonly reason: string;
}

/** What a batch needs of whoever moves its bytes. */
export interface RequestSink {
  /** Starts requests; never throws: failures arrive through `onSettled`. */
  submit(requests: readonly TransportRequest[]): void;

  /** Stops requests; each still settles, once its memory is quiet. Those that it does not know have settled already. */
  cancel(requests: readonly TransportRequest[]): void;
}

export interface Transport extends RequestSink, AsyncDisposable {
  readonly name: TransportName;

  /** What peers must know to use it, published in the segment descriptor as JSON; undefined: nothing, or it is off. */
  readonly endpoint?: unknown;

  /**
   * Probes the way to a segment. Answers within seconds and never rejects; at once, without a promise, where nothing has to be
   * asked. Called before the first request to a segment, and again some time after the way was lost or not there.
   */
  canReach(segment: Segment): Reach | Promise<Reach>;

  /** Gets ready for requests to a segment that it reaches, so that the first of them waits for nothing. Best effort. */
  prepare?(segment: Segment): void;

  /** Lets peers reach a range as it allows. Resolves once every worker knows it. */
  register(range: RegisteredRange): Promise<void>;

  /** Resolves once no peer moves bytes of the range any more, nor can again. */
  unregister(address: number): Promise<void>;

  close(): Promise<void>;
}

/**
 * Whether a request failed because of its way (the peer cannot be reached, the connection ended) and not because of what it
 * asks. The whole request is then worth another try over another transport.
 */
export function isWayLost(error: P2PStoreError): boolean {
  return isP2PStoreError(error, ErrorCode.PeerUnreachable) || isP2PStoreError(error, ErrorCode.TransferFailed);
}
