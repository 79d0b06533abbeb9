import { describe, expect, test } from 'vitest';
import type { Segment } from '../../../../../src/engine/segment.ts';
import type { NetworkCard } from '../../../../../src/engine/topology/network-cards.ts';
import { readTopology, type Topology } from '../../../../../src/engine/topology/topology.ts';
import { TcpRoutes } from '../../../../../src/engine/transport/tcp/tcp-routes.ts';
import { segmentAt } from '../../../../support/engines.ts';

function card(number: number): NetworkCard {
  const address = `10.0.${number}.1`;
  return {
    name: `eth${number}`,
    addresses: [{ address, family: 4, prefixLength: 24 }],
    speedMbps: undefined,
    numaNode: undefined,
    unusedBecause: undefined,
  };
}

function made(...numbers: readonly number[]): Topology {
  return readTopology(undefined, { cards: numbers.map(card), nodes: [0] });
}

function given(matrix: Topology['matrix'], ...numbers: readonly number[]): Topology {
  return { ...made(...numbers), matrix, isGiven: true };
}

function peer(numbers: readonly number[], options: Partial<Segment> = {}): Segment {
  const cards = numbers.map((number) => ({ name: `eth${number}`, addresses: [`10.0.${number}.2`], port: 7000 }));
  const identity = { address: 4096, value: 'ab'.repeat(16) };
  return segmentAt(7000, { host: '10.0.0.2', endpoints: { tcp: { cards, identity } }, ...options });
}

function routesOf(topology: Topology | undefined, segment: Segment, location?: string): string[] {
  const { routes } = new TcpRoutes(topology).to(segment, location);
  return routes.map(({ localCard, remoteAddress, rank }) => `${localCard} ${remoteAddress} ${rank}`);
}

describe('TcpRoutes', () => {
  test('joins the cards of both sides', () => {
    expect(routesOf(made(0, 1), peer([0, 1]))).toEqual(['eth0 10.0.0.2 0', 'eth1 10.0.1.2 0']);
  });

  test('leaves the way to the system where there is one pair, no cards are known, or bytes stay on the machine', () => {
    expect(routesOf(made(0), peer([0]))).toEqual([]);
    expect(routesOf(undefined, peer([0, 1]))).toEqual([]);
    expect(routesOf(made(0, 1), segmentAt(7000, { host: '10.0.0.2' }))).toEqual([]);
    expect(routesOf(made(0, 1), peer([0, 1], { host: '127.0.0.1' }))).toEqual([]);
    expect(routesOf(made(0, 1), peer([0, 1], { protocolVersion: 1 }))).toEqual([]);
    const here = peer([0, 1], { endpoints: { tcp: { cards: [{ name: 'x', addresses: ['10.0.0.1'], port: 1 }] } } });
    expect(routesOf(made(0, 1), here)).toEqual([]);
  });

  test('takes the cards of a given matrix, one alone too, also to peers that say nothing of theirs', () => {
    const topology = given({ 'cpu:0': [['eth1'], ['eth0']], '*': [['eth0'], []] }, 0, 1);
    expect(routesOf(topology, peer([0, 1]), 'cpu:0')).toEqual(['eth1 10.0.1.2 0', 'eth0 10.0.0.2 1']);
    // A router may lead from its network to the other one.
    expect(routesOf(topology, peer([0, 1]))).toEqual(['eth0 10.0.0.2 0', 'eth0 10.0.1.2 0']);
    expect(routesOf(topology, segmentAt(7000, { host: '10.0.0.2' }))).toEqual(['eth0 10.0.0.2 0']);
    expect(routesOf(topology, segmentAt(7000, { host: 'mooncake.example' }))).toEqual([]);
  });

  test('falls back on the address that a peer names itself by, when its cards do not have it', () => {
    const behind = peer([0, 1], { host: '203.0.113.7' });
    expect(routesOf(made(0, 1), behind)).toContain('eth1 203.0.113.7 1');
  });

  test('takes the cards of the peer that are near to its memory, where it says so', () => {
    const matrix = { '*': [['eth0'], ['eth1']], 'cpu:1': [['eth1'], []] };
    const plain = peer([0, 1]);
    const segment = peer([0, 1], {
      endpoints: { tcp: { ...(plain.endpoints?.['tcp'] as object), matrix } },
      buffers: [{ address: 4096, lengthBytes: 4096, location: 'cpu:1' }],
    });
    const routes = new TcpRoutes(made(0, 1));
    const cardsAt = (address: number): (string | undefined)[] =>
      routes.to(segment, '*', address).routes.map(({ remoteCard }) => remoteCard);
    expect(cardsAt(8191)).toEqual(['eth1']);
    expect(cardsAt(8192)).toEqual(['eth0', 'eth1']);
    expect(cardsAt(4095)).toEqual(['eth0', 'eth1']);
  });

  test('keeps peers apart by address, restart and cards, and no others', () => {
    const routes = new TcpRoutes(given({ 'cpu:0': [['eth0'], []], 'cpu:1': [['eth1'], []] }, 0, 1));
    const segment = peer([0, 1]);
    const key = routes.to(segment, 'cpu:0').key;
    expect(routes.to(peer([0, 1]), 'cpu:0').key).toBe(key);
    expect(routes.to(segment, 'cpu:1').key).not.toBe(key);
    const endpoints = {
      tcp: { ...(segment.endpoints?.['tcp'] as object), identity: { address: 1, value: 'cd'.repeat(16) } },
    };
    expect(routes.to(peer([0, 1], { endpoints }), 'cpu:0').key).not.toBe(key);
    expect(routes.hasLocations).toBe(true);
    expect(new TcpRoutes(made(0, 1)).hasLocations).toBe(false);
  });
});
