/** What every data path (TCP now; same host and RDMA later) promises to the engine. */
import type { P2PStoreError } from '../../core/errors.ts';
import type { RegisteredRange } from '../registered-ranges.ts';
import type { Segment } from '../segment.ts';
import type { RefuseWhen } from '../transfer.ts';

export interface TransportRequest {
  readonly opcode: 'read' | 'write';
  readonly segment: Segment;
  readonly localAddress: number;
  readonly remoteAddress: number;
  /** At least 1. */
  readonly lengthBytes: number;
  /** Of a READ; one that is cut or that a peer of version 1 serves is never refused. */
  readonly refuseWhen?: RefuseWhen | undefined;
  /** Bytes that have been moved since the last call; all of them once it is done. */
  onProgress(bytes: number): void;
  /**
   * Called once, when nothing touches the local memory any more.
   *
   * @param error - Undefined on success; `canceled` after {@link Transport.cancel}.
   */
  onSettled(error: P2PStoreError | 'canceled' | undefined): void;
}

export interface Transport extends AsyncDisposable {
  readonly name: 'tcp';

  /** Lets peers reach a range as it allows. Resolves once every worker knows it. */
  register(range: RegisteredRange): Promise<void>;

  /** Resolves once no peer moves bytes of the range any more, nor can again. */
  unregister(address: number): Promise<void>;

  /** Starts requests; never throws: failures arrive through `onSettled`. */
  submit(requests: readonly TransportRequest[]): void;

  /** Stops requests; each still settles, once its memory is quiet. */
  cancel(requests: readonly TransportRequest[]): void;

  close(): Promise<void>;
}
