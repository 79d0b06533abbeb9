import { describe, expect, test } from 'vitest';
import type { Segment } from '../../../../../src/engine/segment.ts';
import type { NetworkCard } from '../../../../../src/engine/topology/network-cards.ts';
import type { Topology } from '../../../../../src/engine/topology/topology.ts';
import {
  cardsByAddress,
  publishEndpoint,
  readEndpoint,
  remoteCardsFor,
} from '../../../../../src/engine/transport/tcp/tcp-endpoint.ts';
import { segmentAt } from '../../../../support/engines.ts';

const identity = { address: 4096, value: '0123456789abcdef'.repeat(2) };
const valid = { cards: [{ name: 'eth0', addresses: ['10.0.0.2', 'fd00::2'], port: 7000 }], identity };

function segment(tcp: unknown): Segment {
  return segmentAt(7000, { endpoints: { tcp } });
}

function card(name: string, addresses: readonly string[]): NetworkCard {
  const entries = addresses.map((address) => ({ address, family: 4 as const, prefixLength: 24 }));
  return { name, addresses: entries, speedMbps: undefined, numaNode: undefined, unusedBecause: undefined };
}

function topology(cards: readonly NetworkCard[], isGiven = false): Topology {
  return { cards, devices: [], matrix: { '*': [cards.map(({ name }) => name), []] }, isGiven };
}

describe('readEndpoint', () => {
  test('reads what was published', async () => {
    const published = await publishEndpoint(topology([card('eth0', ['10.0.0.2'])]), '10.0.0.2', 7000, identity);
    expect(readEndpoint(segment(JSON.parse(JSON.stringify(published))))).toEqual({
      cards: [{ name: 'eth0', addresses: ['10.0.0.2'], port: 7000 }],
      identity,
    });
    expect(readEndpoint(segment(valid))).toEqual(valid);
  });

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['text', 'eth0'],
    ['no cards', { ...valid, cards: [] }],
    ['too many cards', { ...valid, cards: new Array(17).fill(valid.cards[0]) }],
    ['too many addresses', { ...valid, cards: [{ ...valid.cards[0], addresses: new Array(9).fill('10.0.0.2') }] }],
    ['a host name', { ...valid, cards: [{ ...valid.cards[0], addresses: ['example.org'] }] }],
    ['loopback', { ...valid, cards: [{ ...valid.cards[0], addresses: ['127.0.0.1'] }] }],
    ['loopback in IPv6', { ...valid, cards: [{ ...valid.cards[0], addresses: ['::1'] }] }],
    ['loopback in IPv6 of IPv4', { ...valid, cards: [{ ...valid.cards[0], addresses: ['::ffff:127.0.0.1'] }] }],
    ['any address', { ...valid, cards: [{ ...valid.cards[0], addresses: ['0.0.0.0'] }] }],
    ['a group', { ...valid, cards: [{ ...valid.cards[0], addresses: ['239.1.1.1'] }] }],
    ['a link-local address', { ...valid, cards: [{ ...valid.cards[0], addresses: ['fe80::1'] }] }],
    ['port 0', { ...valid, cards: [{ ...valid.cards[0], port: 0 }] }],
    ['a name that is too long', { ...valid, cards: [{ ...valid.cards[0], name: 'x'.repeat(65) }] }],
    ['no identity', { cards: valid.cards }],
    ['an identity of another length', { ...valid, identity: { ...identity, value: 'ab' } }],
    ['a matrix of another shape', { ...valid, matrix: { '*': [['eth0']] } }],
  ])('takes %s for one path', (_name, tcp) => {
    expect(readEndpoint(segment(tcp))).toBeUndefined();
  });
});

describe('publishEndpoint', () => {
  test('says nothing behind an address that no card has, unless a matrix names the cards', async () => {
    const cards = [card('eth0', ['172.17.0.2'])];
    expect(await publishEndpoint(topology(cards), '203.0.113.7', 7000, identity)).toBeUndefined();
    expect(await publishEndpoint(topology(cards, true), '203.0.113.7', 7000, identity)).toMatchObject({
      cards: [{ name: 'eth0' }],
      matrix: { '*': [['eth0'], []] },
    });
  });

  test('leaves out what readers do not take', async () => {
    const many = Array.from({ length: 20 }, (_, index) => card(`eth${index}`, [`10.0.${index}.1`]));
    const published = await publishEndpoint(topology([card('lo', ['127.0.0.1']), ...many]), '10.0.0.1', 7000, identity);
    expect(published?.cards).toHaveLength(16);
    expect(published?.cards[0]?.name).toBe('eth0');
  });
});

describe('remoteCardsFor', () => {
  test('ranks cards as the peer wants, all alike where it does not say', () => {
    const cards = ['a', 'b', 'c'].map((name) => ({ name, addresses: ['10.0.0.1'], port: 1 }));
    const ranks = (location: string, matrix?: Record<string, [string[], string[]]>): string[] =>
      remoteCardsFor({ cards, identity, matrix }, location).map(({ name, rank }) => `${name}${rank}`);
    expect(ranks('*')).toEqual(['a0', 'b0', 'c0']);
    expect(ranks('cpu:0', { 'cpu:0': [['b'], ['c']], '*': [['a'], []] })).toEqual(['b0', 'c1']);
    expect(ranks('cpu:9', { 'cpu:0': [['b'], ['c']], '*': [['a'], []] })).toEqual(['a0']);
  });
});

describe('cardsByAddress', () => {
  test('names the cards that share a network', () => {
    const cards = [card('a', ['10.0.0.1']), card('b', ['10.0.0.2']), card('c', ['10.0.1.1'])];
    expect([...cardsByAddress(topology(cards))]).toEqual([
      ['10.0.0.1', 'a'],
      ['10.0.0.2', 'b'],
    ]);
    expect(cardsByAddress(undefined).size).toBe(0);
  });
});
