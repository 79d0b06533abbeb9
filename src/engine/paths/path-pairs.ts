/** Which local card can talk to which remote one, and by which addresses. */
import { BlockList, isIPv6 } from 'node:net';
import type { CardAddress } from '../topology/network-cards.ts';

export interface LocalCard {
  readonly name: string;
  readonly addresses: readonly CardAddress[];
  /** 0: preferred for this memory, 1: for when none of the preferred works. */
  readonly rank: 0 | 1;
}

export interface RemoteCard {
  /** Undefined when the peer does not say. */
  readonly name: string | undefined;
  readonly addresses: readonly string[];
  readonly port: number;
  readonly rank: 0 | 1;
}

/** One local card, one remote card, and the addresses between them. */
export interface PathRoute {
  readonly localCard: string;
  readonly localAddress: string;
  readonly remoteCard: string | undefined;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** 0 is best: both cards are preferred. */
  readonly rank: number;
}

/** More than this many pairs of one peer help nobody. */
export const ROUTES_MAX = 16;

/**
 * Pairs of cards that can reach each other. Cards of one network find each other there; a remote card that is in the
 * network of no local one is reached over a router, by any.
 *
 * @param prefersIpv6 - For two cards that have addresses of both kinds.
 * @returns The best first, and among equals each card once before any comes twice; {@link ROUTES_MAX} at most.
 */
export function pairCards(
  locals: readonly LocalCard[],
  remotes: readonly RemoteCard[],
  prefersIpv6: boolean,
): PathRoute[] {
  const candidates = remotes.flatMap((remote, remoteIndex) => {
    const pairs = locals.flatMap((local, localIndex) => {
      const found = connect(local, remote, prefersIpv6);
      return found === undefined ? [] : [{ ...found, turn: Math.abs(localIndex - remoteIndex) }];
    });
    const direct = pairs.filter(({ isOnLink }) => isOnLink);
    return direct.length > 0 ? direct : pairs;
  });
  candidates.sort((a, b) => a.route.rank - b.route.rank || a.turn - b.turn);
  return candidates.slice(0, ROUTES_MAX).map(({ route }) => route);
}

function connect(
  local: LocalCard,
  remote: RemoteCard,
  prefersIpv6: boolean,
): { readonly route: PathRoute; readonly isOnLink: boolean } | undefined {
  const best = local.addresses
    .flatMap((from) => {
      const to = remote.addresses.filter((address) => isIPv6(address) === (from.family === 6));
      return to.map((address) => {
        const isOnLink = isInNetworkOf(from, address);
        const isPreferred = (from.family === 6) === prefersIpv6;
        return { from: from.address, to: address, isOnLink, cost: (isOnLink ? 0 : 2) + (isPreferred ? 0 : 1) };
      });
    })
    .sort((a, b) => a.cost - b.cost)[0];
  if (best === undefined || best.from === best.to) return undefined;
  const route = {
    localCard: local.name,
    localAddress: best.from,
    remoteCard: remote.name,
    remoteAddress: best.to,
    remotePort: remote.port,
    rank: local.rank + remote.rank,
  };
  return { route, isOnLink: best.isOnLink };
}

/** Whether the network of a card holds an address. */
export function isInNetworkOf({ address, family, prefixLength }: CardAddress, other: string): boolean {
  const type = family === 6 ? 'ipv6' : 'ipv4';
  const network = new BlockList();
  network.addSubnet(address, prefixLength, type);
  return network.check(other, type);
}
