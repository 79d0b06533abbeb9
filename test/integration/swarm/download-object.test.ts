import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../src/core/errors.ts';
import { type LogFields, silentLogger } from '../../../src/observability/logger.ts';
import type { Digester } from '../../../src/swarm/digester.ts';
import type { DownloadProgress } from '../../../src/swarm/download-types.ts';
import type { PieceEngine } from '../../../src/swarm/piece-fetch.ts';
import { eventually } from '../../support/eventually.ts';
import { expectSameBytes } from '../../support/patterned-memory.ts';
import { layoutOf, pieceSizeBytes, type SwarmNode, TestSwarm } from '../../support/swarm-nodes.ts';

const layout = layoutOf(40 * pieceSizeBytes + 123);
/** For what ends in failure anyway. */
const withoutPatience = { options: { graceMs: 500 } };

/** An engine that starts its requests only while `isOpen()`, and counts them. */
function gated(
  node: SwarmNode,
  isOpen: (requests: number) => boolean,
): PieceEngine & { readonly started: () => number } {
  let passed = 0;
  let started = 0;
  return {
    started: () => started,
    async openSegment(name, options) {
      // Many come at the same time: each is counted as it passes, before the next one asks.
      await eventually('the gate to open', () => isOpen(passed) && ++passed);
      return await node.engine.openSegment(name, options);
    },
    submitTransfer(requests, options) {
      started++;
      return node.engine.submitTransfer(requests, options);
    },
  };
}

/** An engine whose pieces take so long that availability spreads meanwhile, as it does over a network. */
function slow(node: SwarmNode): PieceEngine {
  return {
    async openSegment(name, options) {
      await delay(40);
      return await node.engine.openSegment(name, options);
    },
    submitTransfer: (requests, options) => node.engine.submitTransfer(requests, options),
  };
}

/**
 * An engine that hands over piece `late` only after a second source was asked for it, too, wrote wrong bytes to its place and
 * failed. The digest of the first one's bytes is right, the memory is not.
 */
function disturbed(node: SwarmNode, late: number): PieceEngine & { readonly attempts: () => number } {
  const [range] = node.object.rangesOf(late);
  const offset = late * pieceSizeBytes;
  let attempts = 0;
  let landed: Promise<unknown> = Promise.resolve();
  let letGo: () => void = () => {};
  const isDisturbed = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  return {
    attempts: () => attempts,
    openSegment: (name, options) => node.engine.openSegment(name, options),
    submitTransfer(requests, options) {
      if (requests[0]?.localAddress !== range?.address || ++attempts > 2) {
        return node.engine.submitTransfer(requests, options);
      }
      if (attempts === 1) {
        const batch = node.engine.submitTransfer(requests, options);
        landed = batch.done;
        return {
          tasks: batch.tasks,
          done: batch.done.then(() => isDisturbed),
          cancel: (reason) => batch.cancel(reason),
        };
      }
      const done = landed.then(() => {
        node.memory.bytes.fill(0xbb, offset, offset + pieceSizeBytes);
        throw new Error('connection lost');
      });
      done.catch(() => setImmediate(letGo)); // once everybody has heard of it
      return { tasks: [], done, cancel: () => {} };
    },
  };
}

async function openGold(swarm: TestSwarm, objectLayout = layout): Promise<SwarmNode> {
  const gold = await swarm.open(objectLayout, 'gold');
  gold.list();
  return gold;
}

describe('downloadObject()', () => {
  test('brings the bytes of the gold source, verified, whatever the splits', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    const root = await gold.digest();
    const receiver = await swarm.open(layout, 'replica', [1, 0, 100_000, layout.totalSize - 100_001]);
    const progress: DownloadProgress[] = [];
    const result = await receiver.download({ onProgress: (one) => progress.push(one) });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(result).toMatchObject({
      bytes: layout.totalSize,
      verified: 'xxh64',
      sources: [{ segment: gold.segment, role: 'gold', bytes: layout.totalSize }],
    });
    expect(progress.at(-1)).toMatchObject({ bytesDone: layout.totalSize, bytesTotal: layout.totalSize });
    expect(receiver.object.isComplete).toBe(true);
    expect(receiver.object.rootHex).toBe(root);
    expect(swarm.directory.listeners).toBe(0);
  });

  test('tells the current rate of each source: 0 when nothing comes, though it could', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    const receiver = await swarm.open(layout, 'replica');
    let isOpen = true;
    const engine = gated(receiver, (requests) => isOpen || requests < 20);
    const download = receiver.download({
      engine,
      onProgress: ({ bytesDone }) => {
        if (bytesDone < 10 * pieceSizeBytes) isOpen = false;
      },
    });
    await eventually('bytes to come', () => (receiver.object.progress?.bytesPerSecond ?? 0) > 0);
    const rest = await eventually('nothing to come', () => {
      const progress = receiver.object.progress;
      const isStill = progress !== undefined && progress.bytesDone > 0 && progress.bytesPerSecond === 0;
      return isStill ? progress : undefined;
    });
    expect(rest.sources).toEqual([{ segment: gold.segment, role: 'gold', bytes: rest.bytesDone, bytesPerSecond: 0 }]);
    isOpen = true;
    await download;
    expect(receiver.object.progress).toMatchObject({ bytesDone: layout.totalSize, bytesPerSecond: 0 });
  });

  test('completes at once without bytes', async () => {
    await using swarm = new TestSwarm();
    const empty = layoutOf(0);
    const receiver = await swarm.open(empty, 'replica', []);
    expect(await receiver.download()).toMatchObject({ bytes: 0, sources: [] });
  });

  test('brings receivers that start together what each other has', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    const receivers = await Promise.all([1, 2, 3, 4].map(() => swarm.open(layout, 'replica')));
    for (const receiver of receivers) receiver.list();
    const results = await Promise.all(receivers.map((receiver) => receiver.download({ engine: slow(receiver) })));
    for (const receiver of receivers) expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    const fromGold = results.flatMap(({ sources }) => sources).filter(({ role }) => role === 'gold');
    const goldBytes = fromGold.reduce((total, { bytes }) => total + bytes, 0);
    expect(goldBytes).toBeLessThan(2 * layout.totalSize); // 4 times when everybody pulls from the gold source alone
  });

  test('hears what a partial source has at another of its addresses when the first one is dead', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    const digestRoot = await gold.digest();
    const relay = await swarm.open(layout, 'replica');
    relay.list();
    await relay.download();
    swarm.directory.remove(gold.segment);
    const [, port] = relay.peers.endpoint.split(':');
    relay.list({ isComplete: false, peerEndpoint: `127.0.0.2:${port}`, peerAddresses: ['127.0.0.3', '127.0.0.1'] });
    const receiver = await swarm.open(layout, 'replica');
    const { sources } = await receiver.download({ digestRoot: () => digestRoot });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(sources.map(({ segment }) => segment)).toEqual([relay.segment]);
  });

  test('holds pieces back until their digest is known, and never offers an unverified one', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    const receiver = await swarm.open(layout, 'replica');
    const engine = gated(receiver, () => true);
    const done = receiver.download({ engine });
    await eventually('all pieces to be fetched', () => engine.started() === receiver.object.pieces);
    expect(receiver.object.verified.count).toBe(0);
    await gold.digest();
    await done;
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
  });

  test('bans a relay that sends wrong bytes, and fetches them elsewhere', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    const liar = await swarm.open(layout, 'replica');
    for (let piece = 0; piece < liar.object.pieces; piece++) liar.object.markVerified(piece);
    liar.memory.bytes.fill(0xbb);
    liar.list();
    const receiver = await swarm.open(layout, 'replica');
    const accused: unknown[] = [];
    const warn = (fields: LogFields, message: string): void => {
      if (message === 'piece has the wrong digest') accused.push(fields['segments']);
    };
    const options = { scheduler: { copiesMax: 1 } }; // of two writers nobody knows who it was
    const result = await receiver.download({ logger: { ...silentLogger, warn }, options });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(result.sources.map(({ segment }) => segment)).toEqual([gold.segment]);
    expect(accused).toContainEqual([liar.segment]);
  });

  test('digests pieces on their way, and reads the memory again only where two sources wrote', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    const relay = await swarm.open(layout, 'replica');
    await relay.download();
    relay.list();
    const receiver = await swarm.open(layout, 'replica');
    const engine = disturbed(receiver, 7);
    const looks = new Set<number | undefined>();
    const digester: Digester = {
      digest: (algorithm, ranges, options) => {
        looks.add(ranges[0]?.address);
        return swarm.pool.digest(algorithm, ranges, options);
      },
    };
    await receiver.download({ engine, digester });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(engine.attempts()).toBeGreaterThan(2);
    expect(looks).toContain(receiver.object.rangesOf(7)[0]?.address);
    expect(looks.size).toBeLessThan(receiver.object.pieces); // at the end a few more are asked of two
  });

  test('finishes from relays when the gold source is killed and they have every piece together', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    const [one, other] = await Promise.all([swarm.open(layout, 'replica'), swarm.open(layout, 'replica')]);
    for (const receiver of [one, other]) receiver.list();
    let isKilled = false;
    const pausedAtHalf = (receiver: SwarmNode): PieceEngine =>
      gated(receiver, () => isKilled || receiver.object.verified.count < receiver.object.pieces / 2);
    const downloads = [one, other].map((receiver) =>
      receiver.download({
        engine: pausedAtHalf(receiver),
        options: { graceMs: 5_000, scheduler: { holderPiecesMax: 1 } },
      }),
    );
    const union = (): number => new Set([...one.object.verified, ...other.object.verified]).size;
    await eventually('both to have some', () => one.object.verified.count > 10 && other.object.verified.count > 10);
    // What neither has yet goes to one of them, as if it had been in time.
    for (let piece = 0; union() < one.object.pieces; piece++) {
      if (one.object.verified.has(piece) || other.object.verified.has(piece)) continue;
      const { offset, lengthBytes } = { offset: piece * pieceSizeBytes, lengthBytes: pieceSizeBytes };
      other.memory.bytes.set(gold.memory.bytes.subarray(offset, offset + lengthBytes), offset);
      other.object.markVerified(piece);
    }
    await gold.kill();
    isKilled = true;
    await Promise.all(downloads);
    expectSameBytes(one.memory.bytes, gold.memory.bytes);
    expectSameBytes(other.memory.bytes, gold.memory.bytes);
  });

  test('verifies a late pull from a relay alone by the root of the record', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    const digestRoot = await gold.digest();
    const relay = await swarm.open(layout, 'replica');
    await relay.download();
    relay.list();
    swarm.directory.remove(gold.segment);
    await gold.kill();
    const late = await swarm.open({ ...layout, ...(digestRoot === undefined ? {} : { digestRoot }) }, 'replica');
    const result = await late.download();
    expectSameBytes(late.memory.bytes, gold.memory.bytes);
    expect(result.verified).toBe('xxh64');
    expect(result.sources.map(({ segment }) => segment)).toEqual([relay.segment]);
  });

  test('does not take the digests of a relay that do not match the root', async () => {
    await using swarm = new TestSwarm();
    const relay = await swarm.open(layout, 'gold');
    await relay.digest();
    relay.list({ role: 'replica' });
    const receiver = await swarm.open({ ...layout, digestRoot: '00'.repeat(8) }, 'replica');
    await expect(receiver.download(withoutPatience)).rejects.toMatchObject({ code: ErrorCode.NoSource });
    expect(receiver.object.verified.count).toBe(0);
  });

  test('ignores sources of another generation or size', async () => {
    await using swarm = new TestSwarm();
    const gold = await swarm.open(layout, 'gold');
    gold.list({ generation: 'another' });
    const short = await swarm.open(layout, 'gold');
    short.list({ ranges: [{ address: 4096, lengthBytes: 1 }] });
    const receiver = await swarm.open(layout, 'replica');
    await expect(receiver.download(withoutPatience)).rejects.toMatchObject({ code: ErrorCode.NoSource });
  });

  test.each(['xxh64', 'none'] as const)('takes pieces unverified when asked to, with %s', async (digestAlgorithm) => {
    await using swarm = new TestSwarm();
    const plain = { ...layout, digestAlgorithm };
    const gold = await openGold(swarm, plain);
    const receiver = await swarm.open(plain, 'replica');
    const result = await receiver.download({ verify: digestAlgorithm === 'none' });
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
    expect(result.verified).toBe('none');
  });

  test('leaves a source that was withdrawn, and takes one that comes later', async () => {
    await using swarm = new TestSwarm();
    const gold = await openGold(swarm);
    await gold.digest();
    gold.peers.unshare(layout.name);
    const receiver = await swarm.open(layout, 'replica');
    const engine = gated(receiver, () => false);
    const done = receiver.download({
      engine: { ...engine, openSegment: (name) => receiver.engine.openSegment(name) },
      options: { graceMs: 10_000 },
    });
    const second = await swarm.open(layout, 'gold');
    await second.digest();
    second.list();
    await done;
    expectSameBytes(receiver.memory.bytes, gold.memory.bytes);
  });
});
