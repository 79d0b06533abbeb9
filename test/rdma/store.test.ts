import { describe, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../src/core/errors.ts';
import { MIB } from '../../src/core/units.ts';
import { P2PStore } from '../../src/store/p2p-store.ts';
import { eventually } from '../support/eventually.ts';
import { allocateBytes, expectSameBytes, fillPattern, type TestMemory } from '../support/patterned-memory.ts';
import { freshMemoryUri } from '../support/test-store.ts';

const cards = { '*': [['rxe0'], []] } as const;

async function pull(store: P2PStore, address: bigint, sizeBytes: number): Promise<boolean> {
  try {
    await store.getReplica('model', [address], [sizeBytes]);
    return true;
  } catch (error) {
    if (isP2PStoreError(error, ErrorCode.NoSource)) return false;
    throw error;
  }
}

describe('P2PStore over RDMA', () => {
  test('an object is published, and pulled by four stores at once, each verified', async () => {
    const uri = freshMemoryUri();
    const sizeBytes = 6 * MIB + 4321;
    await using source = allocateBytes(sizeBytes);
    fillPattern(source.bytes, 29);
    const options = { transports: ['rdma'] as const, ioWorkers: 1, digestWorkers: 1, host: '127.0.0.1' };
    const gold = await P2PStore.open(uri, 'gold', cards, options);
    await gold.register('model', [source.address], [sizeBytes], MIB, '*');
    const replicas: { readonly target: TestMemory; readonly store: P2PStore }[] = [];
    for (const index of [0, 1, 2, 3]) {
      const store = await P2PStore.open(uri, `replica-${index}`, cards, options);
      replicas.push({ target: allocateBytes(sizeBytes), store });
    }
    await Promise.all(
      replicas.map(({ target, store }) =>
        // Five stores share two emulated processors: a peer may be silent for longer than a store waits.
        eventually('the object', () => pull(store, target.address, sizeBytes), { deadlineMs: 90_000, pollMs: 500 }),
      ),
    );
    for (const { target, store } of replicas) {
      expectSameBytes(target.bytes, source.bytes);
      await store.close();
      await target.region.close();
    }
    await gold.close();
  });
});
