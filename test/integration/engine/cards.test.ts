/** Several network cards between two hosts, in network namespaces: how bytes spread over them, and what cuts do. */
import { afterEach, describe, expect, test } from 'vitest';
import { type Cut, type HostName, whyNoCardNetwork } from '../../../bench/support/card-network.ts';
import type { PathStatus } from '../../../src/engine/paths/path-status.ts';
import { CardHosts, type CardHostsOptions } from '../../support/card-hosts.ts';
import { eventually } from '../../support/eventually.ts';
import { metricOf } from '../../support/metrics-text.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 16 * MIB;
/** Slow enough that what is cut is cut in the middle of a read. */
const RATE = 400e6;

const missing = whyNoCardNetwork();
if (missing !== undefined) process.stderr.write(`skipped, several cards: ${missing}\n`);

let hosts: CardHosts | undefined;

async function open(options: Partial<CardHostsOptions> = {}): Promise<CardHosts> {
  hosts = await CardHosts.open({ cards: [RATE, RATE], sizeBytes: SIZE_BYTES, ...options });
  return hosts;
}

function bytesByCard(paths: readonly PathStatus[]): Map<string | undefined, number> {
  const sums = new Map<string | undefined, number>();
  for (const { localCard, bytes } of paths) sums.set(localCard, (sums.get(localCard) ?? 0) + bytes);
  return sums;
}

describe.skipIf(missing !== undefined)('two cards', () => {
  afterEach(async () => {
    await hosts?.[Symbol.asyncDispose]();
    hosts = undefined;
  });

  test.each([4, 6] as const)('both carry a read and a write over IPv%i', async (family) => {
    const lab = await open({ family });
    const { failures, reads, paths } = await lab.read();
    expect({ failures, reads }).toEqual({ failures: [], reads: 1 });
    const { network } = lab;
    expect(paths.map(({ localAddress, remoteAddress }) => [localAddress, remoteAddress])).toEqual(
      [0, 1].map((card) => [network.address('left', card, family), network.address('right', card, family)]),
    );
    const received = await network.received('left');
    expect(received.map((bytes) => bytes > SIZE_BYTES / 8)).toEqual([true, true]);
    await lab.write();
    expect(await lab.isRightIntact()).toBe(true);
  });

  test('of one network both carry bytes, though the system has one route for them', async () => {
    const lab = await open({ isShared: true });
    await lab.read();
    const { failures } = await lab.read();
    expect(failures).toEqual([]);
    const received = await lab.network.received('left');
    expect(received.map((bytes) => bytes > SIZE_BYTES / 8)).toEqual([true, true]);
  });

  test.each<readonly [HostName, Cut]>([
    ['left', 'down'],
    ['left', 'cable'],
    ['left', 'silent'],
    ['right', 'down'],
  ])('one of %s that is cut (%s) loses nothing, and comes back when it heals', async (host, cut) => {
    const lab = await open();
    await lab.start();
    await lab.untilCarrying([0, 1]);
    await lab.network.cut(host, 1, cut);
    const lost = await eventually('the loss of a path', async () => {
      const { paths, metrics } = await lab.state();
      const path = paths.find(({ localCard, state }) => localCard === 'card1' && state !== 'up');
      return path && { ...path, metrics };
    });
    const labels = { local_card: 'card1', state: lost.state };
    expect(metricOf(lost.metrics, 'p2pstore_path_state', labels)).toBe(1);
    const isSeen = host === 'left' && cut !== 'silent';
    expect(lost.state).toBe(isSeen ? 'down' : 'held');
    expect(lost.lastFault).toMatch(isSeen ? /^card card1 is down$/ : /^no byte for \d+ ms$/);
    await lab.untilCarrying([0]);
    await lab.network.heal(host, 1, cut);
    await lab.untilCarrying([0, 1]);
    expect((await lab.stop()).failures).toEqual([]);
  });

  test('a write goes on over the other card when one is cut', async () => {
    const lab = await open({ sizeBytes: 4 * SIZE_BYTES });
    await lab.read(); // now this host has the bytes, and the other one is made to forget them
    await lab.forgetRight();
    const before = await lab.network.received('right');
    const writing = lab.write();
    await eventually('a part of the write', async () => {
      const received = await lab.network.received('right');
      return received.every((bytes, card) => bytes > (before[card] ?? 0) + MIB);
    });
    await lab.network.cut('left', 1, 'silent');
    expect((await writing).failures).toEqual([]);
    expect(await lab.isRightIntact()).toBe(true);
  });

  test('when none works a read fails, with the last fault of each, and works again after that', async () => {
    const lab = await open({ left: { connectTimeoutMs: 1000, stallTimeoutMs: 1000 } });
    await lab.read();
    await lab.network.cut('left', 0, 'down');
    await lab.network.cut('left', 1, 'silent');
    const { failures } = await lab.read();
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(/^P2P_(PEER_UNREACHABLE|TRANSFER_FAILED) .*card0 10\.78.*card0 is down.*card1 10\.78/);
    await lab.network.heal('left', 0, 'down');
    await lab.network.heal('left', 1, 'silent');
    expect(await lab.read()).toMatchObject({ reads: 2, failures });
  });

  test('a matrix chooses among them, and the others serve when those fail', async () => {
    const lab = await open({ left: { nicPriorityMatrix: { '*': [['card1'], ['card0']] } } });
    await lab.read();
    expect(bytesByCard((await lab.state()).paths)).toEqual(
      new Map([
        ['card1', SIZE_BYTES],
        ['card0', 0],
      ]),
    );
    await lab.network.cut('left', 1, 'down');
    const { failures, paths } = await lab.read();
    expect(failures).toEqual([]);
    expect(bytesByCard(paths).get('card0')).toBeGreaterThan(0);
  });
});
