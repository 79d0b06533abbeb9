import { randomUUID } from 'node:crypto';
import { type ErrorCode, isP2PStoreError } from '../../src/core/errors.ts';
import type { Segment } from '../../src/engine/segment.ts';
import type { Batch, TransferRequest } from '../../src/engine/transfer.ts';
import { TransferEngine, type TransferEngineOptions } from '../../src/engine/transfer-engine.ts';

/** Opens an engine on loopback whose segment others find under the same `metadata`. It uses TCP only, unless told otherwise. */
export function openEngine(options: Partial<TransferEngineOptions> = {}): Promise<TransferEngine> {
  return TransferEngine.open({
    metadata: 'memory:engines',
    segmentName: `test-${randomUUID()}`,
    host: '127.0.0.1',
    ioWorkers: 2,
    transports: ['tcp'],
    ...options,
  });
}

/** The segment of a data port that no metadata store lists. */
export function segmentAt(port: number, options: Partial<Segment> = {}): Segment {
  return { name: `port-${port}`, host: '127.0.0.1', port, protocolVersion: 2, buffers: [], ...options };
}

export interface Move {
  readonly opcode: 'read' | 'write';
  readonly local: bigint;
  readonly remote: bigint;
  readonly lengthBytes: number;
}

export function requestsOf(segment: Segment, moves: readonly Move[]): TransferRequest[] {
  return moves.map(({ opcode, local, remote, lengthBytes }) => ({
    opcode,
    segment,
    localAddress: local,
    remoteAddress: remote,
    lengthBytes,
  }));
}

export async function transfer(engine: TransferEngine, segment: Segment, ...moves: readonly Move[]): Promise<void> {
  await engine.submitTransfer(requestsOf(segment, moves)).done;
}

/** How a promise ended: `resolved`, the code of our error, or what else was thrown. */
export async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return 'resolved';
  } catch (error) {
    return isP2PStoreError(error) ? error.code : error;
  }
}

export function codesOf(batch: Batch): (ErrorCode | undefined)[] {
  return batch.tasks.map(({ error }) => error?.code);
}
