import { afterAll, beforeAll } from 'vitest';
import { MIB } from '../../src/core/units.ts';
import type { RegisterMemoryOptions } from '../../src/engine/registered-ranges.ts';
import type { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { allocateBytes, fillPattern, type TestMemory } from '../support/patterned-memory.ts';

/** What the suite needs of a data path: engines that reach each other over it, and nothing else. */
export interface TransportHarness {
  open(): Promise<TransferEngine>;
  /** Divides what is large, for a way that is slow. A power of two up to 16; default 1. */
  readonly shrink?: number;
}

export interface Pair extends AsyncDisposable {
  /** Registered with the client. */
  readonly local: TestMemory;
  /** Registered with the server. */
  readonly remote: TestMemory;
}

/** Two engines that last as long as the tests of a suite. */
export interface ConnectedEngines {
  readonly client: TransferEngine;
  readonly server: TransferEngine;
  /** Opens another one. */
  open(): Promise<TransferEngine>;
  pair(sizeBytes: number, options?: RegisterMemoryOptions): Promise<Pair>;
  /** See {@link TransportHarness}. */
  readonly shrink: number;
  /** Bytes of a large transfer, fewer where the way is slow. */
  bulkBytes(mebibytes: number): number;
}

/** Opens the engines before the tests of this suite, and closes them after. */
export function useConnectedEngines({ open, shrink = 1 }: TransportHarness): ConnectedEngines {
  let opened: readonly TransferEngine[] = [];

  beforeAll(async () => {
    opened = await Promise.all([open(), open()]);
  });
  afterAll(async () => {
    await Promise.all(opened.map((engine) => engine.close()));
  });

  const engineAt = (index: number): TransferEngine => {
    const engine = opened[index];
    if (engine === undefined) throw new Error('the engines are open during tests only');
    return engine;
  };
  const engines: ConnectedEngines = {
    get client() {
      return engineAt(0);
    },
    get server() {
      return engineAt(1);
    },
    open,
    shrink,
    bulkBytes: (mebibytes) => (mebibytes * MIB) / shrink,
    async pair(sizeBytes, options = {}) {
      const { client, server } = engines;
      const local = allocateBytes(sizeBytes);
      const remote = allocateBytes(sizeBytes);
      fillPattern(remote.bytes, 7);
      await client.registerLocalMemory(local.address, sizeBytes, '*', { remoteAccess: 'none' });
      await server.registerLocalMemory(remote.address, sizeBytes, '*', { isListed: false, ...options });
      return {
        local,
        remote,
        async [Symbol.asyncDispose]() {
          await client.unregisterLocalMemory(local.address);
          await server.unregisterLocalMemory(remote.address).catch(() => {}); // the test may have done so
          await Promise.all([local.region.close(), remote.region.close()]);
        },
      };
    },
  };
  return engines;
}
