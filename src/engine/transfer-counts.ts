import type { TaskStatus } from './transfer.ts';
import type { TransportName } from './transport/transport.ts';

/** How a task may have ended. */
export type EndedStatus = Extract<TaskStatus, 'COMPLETED' | 'FAILED' | 'CANCELED' | 'INVALID'>;

/** Bytes by what moved them. */
export interface MovedBytes {
  read: number;
  write: number;
}

/** What the requests of one engine have come to since it was opened. */
export class TransferCounts {
  /** By the transport that moved them; a request that failed counts nothing. */
  readonly bytes: Readonly<Record<TransportName, MovedBytes>> = {
    loopback: { read: 0, write: 0 },
    local: { read: 0, write: 0 },
    rdma: { read: 0, write: 0 },
    tcp: { read: 0, write: 0 },
  };
  readonly tasks: Record<EndedStatus, number> = {
    COMPLETED: 0,
    FAILED: 0,
    CANCELED: 0,
    INVALID: 0,
  };
}
