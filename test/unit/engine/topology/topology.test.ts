import { describe, expect, test } from 'vitest';
import type { NetworkCard } from '../../../../src/engine/topology/network-cards.ts';
import { cardsFor, linkBytesPerSecond, readTopology, rowOf } from '../../../../src/engine/topology/topology.ts';

function card(name: string, numaNode?: number, unusedBecause?: string): NetworkCard {
  return { name, addresses: [], speedMbps: undefined, numaNode, unusedBecause };
}

describe('readTopology', () => {
  test('without a matrix prefers for each node its own cards, and all where nobody knows', () => {
    const cards = [card('a', 0), card('b', 1), card('c', undefined), card('docker0', undefined, 'a bridge')];
    const { matrix, isGiven } = readTopology(undefined, { cards, nodes: [0, 1, 2] });
    expect(isGiven).toBe(false);
    expect(matrix).toEqual({
      '*': [['a', 'b', 'c'], []],
      'cpu:0': [['a', 'c'], ['b']],
      'cpu:1': [['b', 'c'], ['a']],
      'cpu:2': [['c'], ['a', 'b']],
    });
    expect(readTopology('', { cards: [card('a', 0)], nodes: [0, 1] }).matrix['cpu:1']).toEqual([['a'], []]);
  });

  test('what it makes can be given back', () => {
    const made = readTopology(undefined);
    const given = readTopology(JSON.stringify(made.matrix));
    expect(given.matrix).toEqual(made.matrix);
    expect(given.isGiven).toBe(true);
    expect(cardsFor(given, 'cpu:0')).toEqual(cardsFor(made, 'cpu:0'));
  });

  test('a given matrix may name cards that are not used by themselves', () => {
    const topology = readTopology({ '*': [['lo'], []] });
    expect(cardsFor(topology, '*').preferred.map(({ name }) => name)).toEqual(['lo']);
  });
});

describe('linkBytesPerSecond', () => {
  const fast = { ...card('a'), speedMbps: 100_000 };
  const slow = { ...card('b'), speedMbps: 1_000 };

  test('is the sum of the cards in use, of those that a matrix names, or that of loopback', () => {
    expect(linkBytesPerSecond(readTopology(undefined, { cards: [fast, slow] }))).toBe(12.625e9);
    const given = { cards: [fast, slow], devices: [], matrix: { '*': [['b'], []] }, isGiven: true } as const;
    expect(linkBytesPerSecond(given)).toBe(125e6);
    expect(linkBytesPerSecond(undefined)).toBeGreaterThan(1e9);
  });

  test('is a limit that is less, or all that is known', () => {
    const topology = readTopology(undefined, { cards: [slow] });
    expect(linkBytesPerSecond(topology, 1e6)).toBe(1e6);
    expect(linkBytesPerSecond(topology, 1e12)).toBe(125e6);
    expect(linkBytesPerSecond(readTopology(undefined, { cards: [card('c')] }), 1e6)).toBe(1e6);
  });

  test('is not known when a card does not tell its speed, or there is none', () => {
    expect(linkBytesPerSecond(readTopology(undefined, { cards: [fast, card('c')] }))).toBeUndefined();
    expect(linkBytesPerSecond(readTopology(undefined, { cards: [] }))).toBeUndefined();
  });
});

describe('cardsFor', () => {
  const cards = [card('a'), card('b'), card('c')];
  const matrix = {
    'cpu:0': [
      ['b', 'a'],
      ['c', 'a'],
    ],
    'cpu:1': [['c'], []],
  } as const;
  const namesOf = (location: string): string[][] => {
    const { preferred, other } = cardsFor({ cards, devices: [], matrix, isGiven: true }, location);
    return [preferred, other].map((list) => list.map(({ name }) => name));
  };

  test('keeps the order of the row, and each card once', () => {
    expect(namesOf('cpu:0')).toEqual([['b', 'a'], ['c']]);
  });

  test('takes all that is named anywhere for * without a row', () => {
    expect(namesOf('*')).toEqual([['b', 'a', 'c'], []]);
    expect(rowOf({ ...matrix, '*': [['a'], []] }, 'gpu:7')).toEqual([['a'], []]);
  });
});
