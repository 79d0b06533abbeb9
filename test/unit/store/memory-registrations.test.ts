import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import type { MemoryRange } from '../../../src/memory/memory-range.ts';
import { MemoryRegistrations } from '../../../src/store/memory-registrations.ts';

const range = (address: number, lengthBytes: number): MemoryRange => ({ address, lengthBytes, access: 'direct' });
const shared = { location: '*', isExclusive: false };
const exclusive = { location: '*', isExclusive: true };
const overlapped = { code: ErrorCode.AddressOverlapped };

/** Registers like the engine: overlaps are refused, and what it did is recorded. */
function recordingEngine() {
  const registered = new Map<number, number>();
  const calls: string[] = [];
  return {
    registered,
    calls,
    async registerLocalMemory(address: number | bigint, lengthBytes: number): Promise<void> {
      await Promise.resolve();
      const start = Number(address);
      for (const [other, length] of registered) {
        if (start < other + length && other < start + lengthBytes) {
          throw Object.assign(new Error('overlap'), { code: ErrorCode.AddressOverlapped });
        }
      }
      calls.push(`register ${start}`);
      registered.set(start, lengthBytes);
    },
    async unregisterLocalMemory(address: number | bigint): Promise<void> {
      await Promise.resolve();
      calls.push(`unregister ${address}`);
      registered.delete(Number(address));
    },
  };
}

describe('MemoryRegistrations', () => {
  test('registers the same memory once for several objects, until the last lets go', async () => {
    const engine = recordingEngine();
    const registrations = new MemoryRegistrations(engine);
    const [a, b] = await Promise.all([
      registrations.acquire([range(100, 10)], shared),
      registrations.acquire([range(100, 10), range(200, 5)], shared),
    ]);
    await a.release();
    expect([...engine.registered]).toEqual([[100, 10], [200, 5]]); // biome-ignore format: pairs
    await b.release();
    expect(engine.calls.toSorted()).toEqual(['register 100', 'register 200', 'unregister 100', 'unregister 200']);
  });

  test('releases once however often asked', async () => {
    const engine = recordingEngine();
    const registrations = new MemoryRegistrations(engine);
    const a = await registrations.acquire([range(100, 10)], shared);
    const b = await registrations.acquire([range(100, 10)], shared);
    await a.release();
    await a.release();
    expect(engine.registered.size).toBe(1);
    await b.release();
    expect(engine.registered.size).toBe(0);
  });

  test('refuses another length at the same address, and undoes the other ranges', async () => {
    const engine = recordingEngine();
    const registrations = new MemoryRegistrations(engine);
    await registrations.acquire([range(100, 10)], shared);
    await expect(registrations.acquire([range(50, 10), range(100, 11)], shared)).rejects.toMatchObject(overlapped);
    await expect(registrations.acquire([range(50, 10), range(95, 10)], shared)).rejects.toMatchObject(overlapped);
    expect([...engine.registered.keys()]).toEqual([100]);
  });

  test('keeps the memory of a pull to itself until all bytes are there', async () => {
    const registrations = new MemoryRegistrations(recordingEngine());
    const pull = await registrations.acquire([range(100, 10)], exclusive);
    await expect(registrations.acquire([range(100, 10)], shared)).rejects.toMatchObject(overlapped);
    pull.allowSharing();
    const second = await registrations.acquire([range(100, 10)], shared);
    await expect(registrations.acquire([range(100, 10)], exclusive)).rejects.toMatchObject(overlapped);
    await pull.release();
    await second.release();
  });

  test('registers anew when the memory is on its way out', async () => {
    const engine = recordingEngine();
    const registrations = new MemoryRegistrations(engine);
    const first = await registrations.acquire([range(100, 10)], exclusive);
    const released = first.release();
    const second = await registrations.acquire([range(100, 20)], exclusive);
    await released;
    expect(engine.calls).toEqual(['register 100', 'unregister 100', 'register 100']);
    expect([...engine.registered]).toEqual([[100, 20]]);
    await second.release();
  });

  test('needs no engine for empty ranges', async () => {
    const engine = recordingEngine();
    const registration = await new MemoryRegistrations(engine).acquire([range(100, 0), range(100, 0)], exclusive);
    await registration.release();
    expect(engine.calls).toEqual([]);
  });
});
