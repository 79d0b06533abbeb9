import { describe, expect, test } from 'vitest';
import {
  isInNetworkOf,
  type LocalCard,
  pairCards,
  type RemoteCard,
  ROUTES_MAX,
} from '../../../../src/engine/paths/path-pairs.ts';

function local(name: string, cidrs: readonly string[], rank: 0 | 1 = 0): LocalCard {
  const addresses = cidrs.map((cidr) => {
    const [address = '', bits] = cidr.split('/');
    return { address, family: address.includes(':') ? (6 as const) : (4 as const), prefixLength: Number(bits) };
  });
  return { name, addresses, rank };
}

function remote(name: string | undefined, addresses: readonly string[], rank: 0 | 1 = 0): RemoteCard {
  return { name, addresses, port: 7000, rank };
}

function pairsOf(locals: readonly LocalCard[], remotes: readonly RemoteCard[], prefersIpv6 = false): string[] {
  const routes = pairCards(locals, remotes, prefersIpv6);
  return routes.map(({ localAddress, remoteAddress, rank }) => `${localAddress}>${remoteAddress} ${rank}`);
}

describe('pairCards', () => {
  test('joins cards of one network, and no others with them', () => {
    const locals = [local('a', ['10.0.1.1/24']), local('b', ['10.0.2.1/24'])];
    const remotes = [remote('x', ['10.0.2.9']), remote('y', ['10.0.1.9'])];
    expect(pairsOf(locals, remotes)).toEqual(['10.0.2.1>10.0.2.9 0', '10.0.1.1>10.0.1.9 0']);
  });

  test('reaches over routers from every card, each with its own partner first', () => {
    const locals = [local('a', ['10.0.1.1/24']), local('b', ['10.0.2.1/24'])];
    const remotes = [remote('x', ['10.9.1.1']), remote('y', ['10.9.2.1'])];
    expect(pairsOf(locals, remotes)).toEqual([
      '10.0.1.1>10.9.1.1 0',
      '10.0.2.1>10.9.2.1 0',
      '10.0.2.1>10.9.1.1 0',
      '10.0.1.1>10.9.2.1 0',
    ]);
  });

  test('puts preferred cards first and keeps both ranks', () => {
    const locals = [local('b', ['10.0.1.2/24'], 1), local('a', ['10.0.1.1/24'], 0)];
    const remotes = [remote('y', ['10.0.1.8'], 1), remote('x', ['10.0.1.9'], 0)];
    expect(pairsOf(locals, remotes).map((pair) => pair.split(' ')[1])).toEqual(['0', '1', '1', '2']);
  });

  test('never joins addresses of different families, and prefers the family that is asked for', () => {
    const both = [local('a', ['10.0.1.1/24', 'fd00:1::1/64'])];
    expect(pairsOf(both, [remote('x', ['10.0.1.9', 'fd00:1::9'])])).toEqual(['10.0.1.1>10.0.1.9 0']);
    expect(pairsOf(both, [remote('x', ['10.0.1.9', 'fd00:1::9'])], true)).toEqual(['fd00:1::1>fd00:1::9 0']);
    expect(pairsOf([local('a', ['10.0.1.1/24'])], [remote('x', ['fd00:1::9'])])).toEqual([]);
    // The one in the own network, whatever is preferred.
    expect(pairsOf(both, [remote('x', ['10.9.9.9', 'fd00:1::9'])])).toEqual(['fd00:1::1>fd00:1::9 0']);
  });

  test('is bounded', () => {
    const locals = Array.from({ length: 16 }, (_, index) => local(`a${index}`, [`10.0.${index}.1/24`]));
    const remotes = Array.from({ length: 16 }, (_, index) => remote(`x${index}`, [`10.9.${index}.1`]));
    expect(pairCards(locals, remotes, false)).toHaveLength(ROUTES_MAX);
  });
});

describe('isInNetworkOf', () => {
  test.each([
    ['10.0.1.1', 24, '10.0.1.255', true],
    ['10.0.1.1', 24, '10.0.2.1', false],
    ['10.0.1.1', 32, '10.0.1.1', true],
    ['fd00:1::1', 64, 'fd00:1::ffff:1', true],
    ['fd00:1::1', 64, 'fd00:2::1', false],
  ])('%s/%i and %s: %s', (address, prefixLength, other, expected) => {
    const family = address.includes(':') ? 6 : 4;
    expect(isInNetworkOf({ address, family, prefixLength }, other)).toBe(expected);
  });
});
