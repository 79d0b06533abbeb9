/** By which pairs of cards a segment is reached, from memory at a location. */
import { isIP, isIPv6 } from 'node:net';
import { isLoopback } from '../../engine-host.ts';
import { ANY_LOCATION, type NicPriorityMatrix } from '../../nic-priority-matrix.ts';
import { type LocalCard, type PathRoute, pairCards, type RemoteCard } from '../../paths/path-pairs.ts';
import type { Segment } from '../../segment.ts';
import { cardsFor, type Topology } from '../../topology/topology.ts';
import { readEndpoint, remoteCardsFor } from './tcp-endpoint.ts';

export interface RouteSet {
  /** Tells peers apart: equal for requests that may share connections. */
  readonly key: string;
  /** Empty: the system chooses the way. */
  readonly routes: readonly PathRoute[];
}

export class TcpRoutes {
  readonly #topology: Topology | undefined;
  /** Whether memory at different locations is served by different cards. */
  readonly hasLocations: boolean;
  readonly #known = new WeakMap<Segment, KnownRoutes>();

  /** @param topology - Undefined: the system chooses all ways. */
  constructor(topology: Topology | undefined) {
    this.#topology = topology;
    this.hasLocations = hasManyRows(topology?.matrix);
  }

  /**
   * @param location - Of the local memory.
   * @param remoteAddress - Of the other memory, for peers whose cards serve only a part of it.
   */
  to(segment: Segment, location: string = ANY_LOCATION, remoteAddress = 0): RouteSet {
    let known = this.#known.get(segment);
    if (known === undefined) {
      known = { hasLocations: hasManyRows(readEndpoint(segment)?.matrix), sets: new Map() };
      this.#known.set(segment, known);
    }
    const remoteLocation = known.hasLocations ? locationOf(segment, remoteAddress) : ANY_LOCATION;
    const key = `${location} ${remoteLocation}`;
    let set = known.sets.get(key);
    if (set === undefined) {
      set = this.#find(segment, location, remoteLocation);
      known.sets.set(key, set);
    }
    return set;
  }

  #find(segment: Segment, location: string, remoteLocation: string): RouteSet {
    const { host, port, protocolVersion } = segment;
    const key = `${host} ${port} ${protocolVersion}`;
    const topology = this.#topology;
    const routes = topology === undefined ? [] : routesBetween(topology, segment, { location, remoteLocation });
    if (routes.length === 0) return { key, routes };
    const pairs = routes.map(({ localCard, remoteCard, rank }) => `${localCard} ${remoteCard} ${rank}`).join();
    return { key: `${key} ${readEndpoint(segment)?.identity.value ?? ''} ${pairs}`, routes };
  }
}

interface KnownRoutes {
  /** Whether the peer's memory at different locations is served by different cards. */
  readonly hasLocations: boolean;
  readonly sets: Map<string, RouteSet>;
}

function hasManyRows(matrix: NicPriorityMatrix | undefined): boolean {
  return new Set(Object.values(matrix ?? {}).map((row) => JSON.stringify(row))).size > 1;
}

/** Where a peer's memory lies, if it lists that. */
function locationOf({ buffers }: Segment, address: number): string {
  const buffer = buffers.find((range) => address >= range.address && address < range.address + range.lengthBytes);
  return buffer?.location ?? ANY_LOCATION;
}

/** One pair of cards is worth a path of its own only if a matrix asks for these cards. */
function routesBetween(
  topology: Topology,
  segment: Segment,
  { location, remoteLocation }: { readonly location: string; readonly remoteLocation: string },
): readonly PathRoute[] {
  const isHere = topology.cards.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  const remotes = remotesOf(segment, topology.isGiven, remoteLocation);
  const isSameHost = remotes.some(({ addresses }) => addresses.some((address) => isHere.includes(address)));
  if (isLoopback(segment.host) || segment.protocolVersion === 1 || isSameHost) return [];
  const { preferred, other } = cardsFor(topology, location);
  const locals: LocalCard[] = [
    ...preferred.map(({ name, addresses }) => ({ name, addresses, rank: 0 as const })),
    ...other.map(({ name, addresses }) => ({ name, addresses, rank: 1 as const })),
  ];
  const routes = pairCards(locals, remotes, isIPv6(segment.host));
  const isAskedFor = topology.isGiven || readEndpoint(segment)?.matrix !== undefined;
  return routes.length === 1 && !isAskedFor ? [] : routes;
}

function remotesOf(segment: Segment, isMatrixGiven: boolean, location: string): RemoteCard[] {
  const { host, port } = segment;
  const endpoint = readEndpoint(segment);
  const itself = { name: undefined, addresses: [host], port };
  if (endpoint === undefined) return isMatrixGiven && isIP(host) !== 0 ? [{ ...itself, rank: 0 }] : [];
  const cards = remoteCardsFor(endpoint, location);
  const isAmong = endpoint.cards.some(({ addresses }) => addresses.includes(host));
  // Behind a router that translates addresses, only the host that it names itself by leads there.
  return isAmong || isIP(host) === 0 ? cards : [...cards, { ...itself, rank: 1 }];
}
