import { describe, expect, test } from 'vitest';
import { ErrorCode, P2PStoreError } from '../../../src/core/errors.ts';
import type { LocalObject } from '../../../src/store/local-object.ts';
import type { ObjectDirectory } from '../../../src/store/object-directory.ts';
import { RecordSync } from '../../../src/store/record-sync.ts';
import { eventually } from '../../support/eventually.ts';
import { recordingLogger } from '../../support/test-store.ts';

const unavailable = new P2PStoreError(ErrorCode.MetadataUnavailable, 'Cannot use store: it is away', { uri: 'u' });

/** A directory that fails as long as told, and records what it was asked. */
function fakeDirectory() {
  const calls: string[] = [];
  const state = { isAway: false, isTaken: false };
  const act = async (call: string): Promise<void> => {
    await Promise.resolve();
    calls.push(call);
    if (state.isAway) throw unavailable;
  };
  const directory = {
    async relist({ name }: { readonly name: string }): Promise<'listed' | 'superseded'> {
      await act(`put ${name}`);
      return state.isTaken ? 'superseded' : 'listed';
    },
    withdraw: ({ name, generation }: { readonly name: string; readonly generation: string }) =>
      act(`delete ${name} ${generation}`),
  };
  return { calls, state, directory: directory as unknown as ObjectDirectory };
}

function fakeObject(name: string): { readonly local: LocalObject; readonly stop: AbortController } {
  const stop = new AbortController();
  const local = { name, record: { generation: 'g' }, source: {}, closing: stop.signal, isSuperseded: false };
  return { local: local as unknown as LocalObject, stop };
}

describe('RecordSync', () => {
  test('put() rejects while the metadata store is away, and goes on until it is back', async () => {
    const { calls, state, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    state.isAway = true;
    await expect(sync.put(fakeObject('a').local)).rejects.toBe(unavailable);
    await eventually('a second try', () => calls.length > 1);
    state.isAway = false;
    const tries = calls.length;
    await eventually('a try that succeeds', () => calls.length > tries);
    await sync.close();
    expect(new Set(calls)).toEqual(new Set(['put a']));
  });

  test('remove() rejects while the metadata store is away, and goes on until it is back', async () => {
    const { calls, state, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    state.isAway = true;
    await expect(sync.remove(fakeObject('a').local)).rejects.toBe(unavailable);
    await expect(sync.settle('a')).rejects.toBe(unavailable);
    await sync.settle('b');
    state.isAway = false;
    const tries = calls.length;
    await eventually('a try that succeeds', () => calls.length > tries);
    await sync.settle('a');
    expect(calls).toHaveLength(tries + 1);
    await sync.close();
  });

  test('settle() deletes what is left over, once', async () => {
    const { calls, state, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    state.isAway = true;
    await expect(sync.remove(fakeObject('a').local)).rejects.toBe(unavailable);
    state.isAway = false;
    await sync.settle('a');
    await sync.settle('a');
    expect(calls).toEqual(['delete a g', 'delete a g']);
    await sync.close();
  });

  test('remove() waits for writes under way', async () => {
    const { calls, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    const { local, stop } = fakeObject('a');
    let endWrite = (): void => {};
    const after = new Promise<void>((resolve) => {
      endWrite = resolve;
    });
    const put = sync.put(local);
    const removed = sync.remove(local, after);
    await put;
    expect(calls).toEqual(['put a']);
    stop.abort();
    endWrite();
    await removed;
    expect(calls).toEqual(['put a', 'delete a g']);
    await sync.close();
  });

  test('an object whose name was taken is marked, told, and never written again', async () => {
    const { calls, state, directory } = fakeDirectory();
    const logger = recordingLogger();
    const sync = new RecordSync({ directory, logger });
    const { local } = fakeObject('a');
    state.isTaken = true;
    const superseded = expect.objectContaining({ code: ErrorCode.ObjectSuperseded });
    await expect(sync.put(local)).rejects.toEqual(superseded);
    await expect(sync.put(local)).rejects.toEqual(superseded);
    expect(local.isSuperseded).toBe(true);
    expect(calls).toEqual(['put a']);
    expect(logger.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    await sync.close();
  });

  test('putAll() puts all that it can', async () => {
    const { calls, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    const locals = Array.from({ length: 100 }, (_value, index) => fakeObject(`x${index}`));
    locals[3]?.stop.abort();
    await sync.putAll(locals.map(({ local }) => local));
    expect(calls).toHaveLength(99);
    await sync.close();
  });

  test('close() ends the tries', async () => {
    const { calls, state, directory } = fakeDirectory();
    const sync = new RecordSync({ directory, logger: recordingLogger() });
    state.isAway = true;
    await expect(sync.put(fakeObject('a').local)).rejects.toBe(unavailable);
    await sync.close();
    const tries = calls.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(calls).toHaveLength(tries);
  });
});
