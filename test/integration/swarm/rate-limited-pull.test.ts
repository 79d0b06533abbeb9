import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MIB } from '../../../src/core/units.ts';
import { DigestPool } from '../../../src/digest/digest-pool.ts';
import { limitedPullOptions } from '../../../src/store/limited-pull.ts';
import { expectSameBytes } from '../../support/patterned-memory.ts';
import { layoutOf, SwarmNode, TestDirectory } from '../../support/swarm-nodes.ts';
import { recordingLogger } from '../../support/test-store.ts';

/** One piece takes four seconds. */
const LIMIT = 4_000_000;
const PIECE_BYTES = 16 * MIB;

describe('a pull of large pieces under a low limit', { retry: 1 }, () => {
  let pool: DigestPool;
  const nodes: SwarmNode[] = [];
  beforeEach(() => {
    pool = DigestPool.open({ workers: 1 });
  });
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node[Symbol.asyncDispose]();
    await pool.close();
  });

  test.each([
    { name: 'download', sources: 3, limits: { maxDownloadBytesPerSecond: LIMIT }, sourceLimits: {} },
    { name: 'upload', sources: 1, limits: {}, sourceLimits: { maxUploadBytesPerSecond: LIMIT } },
  ])('of the $name takes its time, and gives up no request', async ({ sources, limits, sourceLimits }) => {
    const context = { directory: new TestDirectory(), pool };
    const layout = layoutOf(2.5 * PIECE_BYTES, { pieceSizeBytes: PIECE_BYTES, maxShardSize: PIECE_BYTES });
    const open = async (role: 'gold' | 'replica', options: object): Promise<SwarmNode> => {
      const node = await SwarmNode.open(context, layout, role, [layout.totalSize], options);
      nodes.push(node);
      return node;
    };
    for (let count = 0; count < sources; count++) {
      const source = await open('gold', sourceLimits);
      await source.digest();
      source.list();
    }
    const receiver = await open('replica', limits);
    receiver.list();
    const logger = recordingLogger();
    const scheduler = limitedPullOptions(receiver.engine.maxDownloadBytesPerSecond, PIECE_BYTES);
    const { seconds } = await receiver.download({ logger, options: { scheduler } });
    expect(logger.lines.map(({ message }) => message)).not.toContain('piece stalled');
    expect(layout.totalSize / seconds / LIMIT).toBeLessThan(1.05);
    expect(layout.totalSize / seconds / LIMIT).toBeGreaterThan(0.8);
    const [source] = nodes;
    expectSameBytes(receiver.memory.bytes, source?.memory.bytes ?? new Uint8Array());
  });
});
