import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import { Gate } from '../../../src/core/gate.ts';

function deferred(): { promise: Promise<string>; resolve: (value: string) => void; reject: (reason: Error) => void } {
  let resolve: (value: string) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<string>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

describe('Gate', () => {
  test('run() passes on what the work answers', async () => {
    const gate = new Gate('gate');
    await expect(gate.run(() => Promise.resolve(7))).resolves.toBe(7);
    await expect(gate.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  test('run() rejects with P2P_CLOSED after close(), and does not start the work', async () => {
    const gate = new Gate('store');
    await gate.close();
    let started = false;
    const error = await gate
      .run(async () => {
        started = true;
      })
      .catch((reason: unknown) => reason);
    expect(isP2PStoreError(error, ErrorCode.Closed) && error.context).toEqual({ resource: 'store' });
    expect(started).toBe(false);
  });

  test('close() waits for every work in flight, failed or not', async () => {
    const gate = new Gate('gate');
    const first = deferred();
    const second = deferred();
    const running = [gate.run(() => first.promise), gate.run(() => second.promise)];
    const settled = Promise.allSettled(running);
    let isClosed = false;
    const closed = gate.close().then(() => {
      isClosed = true;
    });
    expect(gate.isOpen).toBe(false);
    first.reject(new Error('no'));
    await new Promise(setImmediate);
    expect(isClosed).toBe(false);
    second.resolve('done');
    await closed;
    expect((await settled).map((result) => result.status)).toEqual(['rejected', 'fulfilled']);
  });

  test('close() answers the same promise while it drains, and resolves once closed', async () => {
    const gate = new Gate('gate');
    const work = deferred();
    const running = gate.run(() => work.promise);
    const closing = gate.close();
    expect(gate.close()).toBe(closing);
    work.resolve('done');
    await running;
    await closing;
    await gate.close();
  });

  test('await using closes it', async () => {
    const gate = new Gate('gate');
    {
      await using held = gate;
      expect(held.isOpen).toBe(true);
    }
    expect(gate.isOpen).toBe(false);
  });
});
