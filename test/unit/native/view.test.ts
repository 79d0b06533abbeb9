import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { addressOf } from '../../../src/native/address.ts';
import { mapAnonymous, unmap } from '../../../src/native/mapping.ts';
import { MAX_VIEW_BYTES, viewMemory } from '../../../src/native/view.ts';

describe('viewMemory', () => {
  test('shares its bytes with every other view of the memory', async () => {
    const address = mapAnonymous(4096);
    const first = viewMemory(address, 4096);
    const second = viewMemory(address + 100, 10);
    first[105] = 42;
    expect(second[5]).toBe(42);
    expect(addressOf(second)).toBe(address + 100);
    await unmap(address, 4096);
  });

  test('gives an empty array for no bytes, whatever the address', () => {
    expect(viewMemory(0, 0)).toHaveLength(0);
  });

  test('makes a view of the greatest length, and refuses a longer one instead of ending the process', async () => {
    const address = mapAnonymous(MAX_VIEW_BYTES + 1);
    const view = viewMemory(address, MAX_VIEW_BYTES);
    view[MAX_VIEW_BYTES - 1] = 7;
    expect(viewMemory(address + MAX_VIEW_BYTES - 1, 1)[0]).toBe(7);
    expect(() => viewMemory(address, MAX_VIEW_BYTES + 1)).toThrow('one ArrayBuffer');
    await unmap(address, MAX_VIEW_BYTES + 1);
  });

  test('sees the same memory in a worker thread', async () => {
    const address = mapAnonymous(4096);
    viewMemory(address, 1)[0] = 5;
    const module = JSON.stringify(new URL('../../../dist/native/view.js', import.meta.url).href);
    const worker = new Worker(
      `import(${module}).then(({ viewMemory }) => {
        const { workerData, parentPort } = require('node:worker_threads');
        const view = viewMemory(workerData, 2);
        view[1] = 6;
        parentPort.postMessage(view[0]);
      });`,
      { eval: true, workerData: address },
    );
    const [seen] = await once(worker, 'message');
    expect(seen).toBe(5);
    expect(viewMemory(address, 2)[1]).toBe(6);
    await worker.terminate();
    await unmap(address, 4096);
  });
});
