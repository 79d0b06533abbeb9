import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import type { DeviceFunctions } from '../../../src/native/verbs-device.ts';
import { CompletionReader } from '../../../src/native/verbs-queue.ts';
import { viewMemory } from '../../../src/native/view.ts';

function functionsThatPoll(pollCq: DeviceFunctions['pollCq']): DeviceFunctions {
  return { postSend: () => 0, pollCq, requestNotify: () => 0 };
}

describe('CompletionReader', () => {
  test('reads id, status and vendor error of each completion', () => {
    const reader = new CompletionReader(
      functionsThatPoll((queue, count, completions) => {
        expect({ queue, count }).toEqual({ queue: 77, count: 64 });
        const bytes = viewMemory(completions, 96);
        const view = new DataView(bytes.buffer, bytes.byteOffset, 96);
        view.setBigUint64(0, 2n ** 50n + 1n, true);
        view.setInt32(8, 0, true);
        view.setBigUint64(48, 9n, true);
        view.setInt32(56, 12, true);
        view.setUint32(64, 0x81, true);
        return 2;
      }),
      77,
    );
    const seen: number[][] = [];
    expect(reader.poll((...completion) => seen.push(completion))).toBe(2);
    expect(seen).toEqual([
      [2 ** 50 + 1, 0, 0],
      [9, 12, 0x81],
    ]);
    reader.free();
  });

  test('a queue that failed is an error', () => {
    const reader = new CompletionReader(
      functionsThatPoll(() => -5),
      1,
    );
    expect(() => reader.poll(() => {})).toThrow(expect.objectContaining({ code: ErrorCode.SystemCallFailed }));
    reader.free();
  });
});
