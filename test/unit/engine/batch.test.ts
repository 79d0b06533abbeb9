import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../src/core/errors.ts';
import { type BatchOptions, TransferBatch } from '../../../src/engine/batch.ts';
import type { TransferRequest } from '../../../src/engine/transfer.ts';
import type { RequestSink, TransportRequest } from '../../../src/engine/transport/transport.ts';

/** A transport that does nothing by itself: the test plays its part. */
class HandTransport implements RequestSink {
  readonly submitted: TransportRequest[] = [];
  readonly canceled: TransportRequest[] = [];

  submit(requests: readonly TransportRequest[]): void {
    this.submitted.push(...requests);
  }

  cancel(requests: readonly TransportRequest[]): void {
    this.canceled.push(...requests);
  }
}

const segment = { name: 'peer', host: '127.0.0.1', port: 1, protocolVersion: 2, buffers: [] } as const;
const failure = new P2PStoreError(ErrorCode.PeerUnreachable, 'Cannot reach: test', { peer: 'peer' });

function request(lengthBytes: number, localAddress: bigint | number = 4096): TransferRequest {
  return { opcode: 'read', segment, localAddress, remoteAddress: 0x7f00_0000_0000n, lengthBytes };
}

function start(
  requests: readonly TransferRequest[],
  options: Partial<Pick<BatchOptions, 'signal' | 'check' | 'priority'>> = {},
): { transport: HandTransport; batch: TransferBatch } {
  const transport = new HandTransport();
  return { transport, batch: new TransferBatch(requests, { check: () => undefined, ...options, transport }) };
}

async function outcomeOf(batch: TransferBatch): Promise<unknown> {
  return batch.done.then(
    () => 'resolved',
    (error: unknown) => error,
  );
}

function statusesOf(batch: TransferBatch): string[] {
  return batch.tasks.map(({ status }) => status);
}

describe('TransferBatch', () => {
  test('passes requests on as numbers and completes with the last', async () => {
    const { transport, batch } = start([request(10, 4096n), request(20)]);
    expect(statusesOf(batch)).toEqual(['PENDING', 'PENDING']);
    expect(transport.submitted.map(({ localAddress, remoteAddress }) => [localAddress, remoteAddress])).toEqual([
      [4096, 0x7f00_0000_0000],
      [4096, 0x7f00_0000_0000],
    ]);
    transport.submitted[1]?.onProgress(20);
    transport.submitted[1]?.onSettled(undefined);
    expect(batch.tasks.map(({ transferredBytes }) => transferredBytes)).toEqual([0, 20]);
    transport.submitted[0]?.onProgress(4);
    transport.submitted[0]?.onProgress(6);
    transport.submitted[0]?.onSettled(undefined);
    expect(await outcomeOf(batch)).toBe('resolved');
    expect(statusesOf(batch)).toEqual(['COMPLETED', 'COMPLETED']);
    expect(batch.tasks[0]?.transferredBytes).toBe(10);
  });

  test('resolves at once when there is nothing to move', async () => {
    expect(await outcomeOf(start([]).batch)).toBe('resolved');
    const { transport, batch } = start([request(0)]);
    expect(await outcomeOf(batch)).toBe('resolved');
    expect(statusesOf(batch)).toEqual(['COMPLETED']);
    expect(transport.submitted).toEqual([]);
  });

  test('marks refused requests INVALID and moves the others', async () => {
    const error = new P2PStoreError(ErrorCode.InvalidArgument, 'Cannot transfer: test', { argument: 'localAddress' });
    const { transport, batch } = start([request(1, 1), request(2)], {
      check: ({ localAddress }) => (localAddress === 1 ? error : undefined),
    });
    expect(statusesOf(batch)).toEqual(['INVALID', 'PENDING']);
    expect(batch.tasks[0]?.error).toBe(error);
    transport.submitted[0]?.onSettled(undefined);
    expect(await outcomeOf(batch)).toBe(error);
    expect(statusesOf(batch)).toEqual(['INVALID', 'COMPLETED']);
  });

  test('rejects with the first error, once the last request has settled', async () => {
    const { transport, batch } = start([request(1), request(2), request(3)]);
    let isSettled = false;
    batch.done.catch(() => {
      isSettled = true;
    });
    transport.submitted[1]?.onSettled(failure);
    transport.submitted[0]?.onSettled(undefined);
    await new Promise(setImmediate);
    expect(isSettled).toBe(false);
    transport.submitted[2]?.onSettled(new P2PStoreError(ErrorCode.Closed, 'Cannot transfer: later', { resource: 'x' }));
    expect(await outcomeOf(batch)).toBe(failure);
    expect(statusesOf(batch)).toEqual(['COMPLETED', 'FAILED', 'FAILED']);
  });

  describe('cancel()', () => {
    test('asks the transport to stop what runs, and rejects with the reason once that has settled', async () => {
      const { transport, batch } = start([request(1), request(2)]);
      transport.submitted[0]?.onSettled(undefined);
      const reason = new Error('enough');
      batch.cancel(reason);
      batch.cancel(new Error('too late'));
      expect(transport.canceled).toEqual([transport.submitted[1]]);
      expect(statusesOf(batch)).toEqual(['COMPLETED', 'PENDING']);
      transport.submitted[1]?.onSettled('canceled');
      expect(await outcomeOf(batch)).toBe(reason);
      expect(statusesOf(batch)).toEqual(['COMPLETED', 'CANCELED']);
    });

    test('without a reason gives an AbortError', async () => {
      const { transport, batch } = start([request(1)]);
      batch.cancel();
      transport.submitted[0]?.onSettled('canceled');
      expect(await outcomeOf(batch)).toMatchObject({ name: 'AbortError' });
    });

    test('that comes too late changes nothing', async () => {
      const { transport, batch } = start([request(1)]);
      batch.cancel();
      transport.submitted[0]?.onSettled(undefined);
      expect(await outcomeOf(batch)).toBe('resolved');
    });
  });

  describe('with a signal', () => {
    test('cancels on abort and rejects with its reason', async () => {
      const controller = new AbortController();
      const { transport, batch } = start([request(1)], { signal: controller.signal });
      const reason = new Error('stop');
      controller.abort(reason);
      expect(transport.canceled).toHaveLength(1);
      transport.submitted[0]?.onSettled('canceled');
      expect(await outcomeOf(batch)).toBe(reason);
    });

    test('that has fired already starts nothing', async () => {
      const reason = new Error('stop');
      const { transport, batch } = start([request(1), request(0)], { signal: AbortSignal.abort(reason) });
      expect(await outcomeOf(batch)).toBe(reason);
      expect(statusesOf(batch)).toEqual(['CANCELED', 'CANCELED']);
      expect(transport.submitted).toEqual([]);
    });

    test.each([
      ['all have moved', [request(1)], undefined],
      ['there is nothing to move', [request(0)], undefined],
      ['there are no requests', [], undefined],
      ['all are refused', [request(1)], failure],
    ])('leaves no listener on it when %s', async (_name, requests, error) => {
      const { signal } = new AbortController();
      const { transport, batch } = start(requests, { signal, check: () => error });
      for (const submitted of transport.submitted) submitted.onSettled(undefined);
      await outcomeOf(batch);
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    });
  });

  describe('with localRanges', () => {
    const scattered: TransferRequest = {
      opcode: 'read',
      segment,
      remoteAddress: 1000,
      lengthBytes: 60,
      localRanges: [
        { address: 100n, lengthBytes: 10 },
        { address: 300, lengthBytes: 0 },
        { address: 200, lengthBytes: 50 },
      ],
    };

    test('moves each range by itself and completes the task with the last of them', async () => {
      const { transport, batch } = start([scattered, request(5)]);
      expect(transport.submitted).toMatchObject([
        { localAddress: 100, remoteAddress: 1000, lengthBytes: 10 },
        { localAddress: 200, remoteAddress: 1010, lengthBytes: 50 },
        { localAddress: 4096, lengthBytes: 5 },
      ]);
      for (const part of transport.submitted.slice(0, 2)) part.onProgress(part.lengthBytes);
      transport.submitted[1]?.onSettled(undefined);
      expect(statusesOf(batch)).toEqual(['PENDING', 'PENDING']);
      transport.submitted[0]?.onSettled(undefined);
      expect(statusesOf(batch)).toEqual(['COMPLETED', 'PENDING']);
      expect(batch.tasks[0]?.transferredBytes).toBe(60);
      transport.submitted[2]?.onSettled(undefined);
      expect(await outcomeOf(batch)).toBe('resolved');
    });

    test('fails the task when one of them fails, once the others have settled', async () => {
      const { transport, batch } = start([scattered]);
      transport.submitted[0]?.onSettled(failure);
      expect(statusesOf(batch)).toEqual(['PENDING']);
      transport.submitted[1]?.onSettled('canceled');
      expect(await outcomeOf(batch)).toBe(failure);
      expect(statusesOf(batch)).toEqual(['FAILED']);
    });

    test('is cancelled as a whole, also when some have moved', async () => {
      const { transport, batch } = start([scattered]);
      transport.submitted[0]?.onSettled(undefined);
      const reason = new Error('enough');
      batch.cancel(reason);
      expect(transport.canceled).toEqual([transport.submitted[1]]);
      transport.submitted[1]?.onSettled('canceled');
      expect(await outcomeOf(batch)).toBe(reason);
      expect(statusesOf(batch)).toEqual(['CANCELED']);
    });

    test('knows each of them as memory in use', () => {
      const { transport, batch } = start([scattered]);
      expect([batch.touches(105, 1), batch.touches(150, 1), batch.touches(249, 1)]).toEqual([true, false, true]);
      transport.submitted[0]?.onSettled(undefined);
      expect([batch.touches(105, 1), batch.touches(249, 1)]).toEqual([false, true]);
    });
  });

  test('tells the transport how urgent it is', () => {
    expect(start([request(1)]).transport.submitted[0]?.priority).toBe('normal');
    expect(start([request(1)], { priority: 'high' }).transport.submitted[0]?.priority).toBe('high');
  });

  test('touches() tells whether an unfinished request uses some memory', () => {
    const { transport, batch } = start([request(10, 100)]);
    expect([90, 99, 100, 109, 110].map((address) => batch.touches(address, 1))).toEqual([
      false,
      false,
      true,
      true,
      false,
    ]);
    expect(batch.touches(0, 100)).toBe(false);
    expect(batch.touches(0, 101)).toBe(true);
    transport.submitted[0]?.onSettled(undefined);
    expect(batch.touches(100, 10)).toBe(false);
  });
});
