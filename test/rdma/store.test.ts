import { describe, test } from 'vitest';
import { MIB } from '../../src/core/units.ts';
import { P2PStore } from '../../src/store/p2p-store.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../support/patterned-memory.ts';
import { freshMemoryUri } from '../support/test-store.ts';

const cards = { '*': [['rxe0'], []] } as const;

describe('P2PStore over RDMA', () => {
  test('an object is published, and pulled by four stores at once, each verified', async () => {
    const uri = freshMemoryUri();
    const sizeBytes = 6 * MIB + 4321;
    await using source = allocateBytes(sizeBytes);
    fillPattern(source.bytes, 29);
    const options = { transports: ['rdma'] as const, ioWorkers: 1, digestWorkers: 1, host: '127.0.0.1' };
    const gold = await P2PStore.open(uri, 'gold', cards, options);
    await gold.register('model', [source.address], [sizeBytes], MIB, '*');
    const replicas = await Promise.all(
      [0, 1, 2, 3].map(async (index) => {
        const target = allocateBytes(sizeBytes);
        const store = await P2PStore.open(uri, `replica-${index}`, cards, options);
        await store.getReplica('model', [target.address], [sizeBytes]);
        return { target, store };
      }),
    );
    for (const { target, store } of replicas) {
      expectSameBytes(target.bytes, source.bytes);
      await store.close();
      await target.region.close();
    }
    await gold.close();
  });
});
