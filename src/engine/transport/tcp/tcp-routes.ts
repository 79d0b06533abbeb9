/** By which pairs of cards a segment is reached, from memory at a location. */
import { isIP, isIPv6 } from 'node:net';
import { isLoopback } from '../../engine-host.ts';
import { ANY_LOCATION } from '../../nic-priority-matrix.ts';
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
  readonly #known = new WeakMap<Segment, Map<string, RouteSet>>();

  /** @param topology - Undefined: the system chooses all ways. */
  constructor(topology: Topology | undefined) {
    this.#topology = topology;
    this.hasLocations = new Set(Object.values(topology?.matrix ?? {}).map((row) => JSON.stringify(row))).size > 1;
  }

  to(segment: Segment, location: string = ANY_LOCATION): RouteSet {
    const known = this.#known.get(segment) ?? new Map<string, RouteSet>();
    this.#known.set(segment, known);
    let set = known.get(location);
    if (set === undefined) {
      set = this.#find(segment, location);
      known.set(location, set);
    }
    return set;
  }

  #find(segment: Segment, location: string): RouteSet {
    const { host, port, protocolVersion } = segment;
    const key = `${host} ${port} ${protocolVersion}`;
    const routes = this.#topology === undefined ? [] : routesBetween(this.#topology, segment, location);
    if (routes.length === 0) return { key, routes };
    const row = JSON.stringify(routes.map(({ localCard, rank }) => [localCard, rank]));
    return { key: `${key} ${readEndpoint(segment)?.identity.value ?? ''} ${row}`, routes };
  }
}

/** One pair of cards is worth a path of its own only if somebody asked for that card. */
function routesBetween(topology: Topology, segment: Segment, location: string): readonly PathRoute[] {
  const isHere = topology.cards.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  const remotes = remotesOf(segment, topology.isGiven);
  const isSameHost = remotes.some(({ addresses }) => addresses.some((address) => isHere.includes(address)));
  if (isLoopback(segment.host) || segment.protocolVersion === 1 || isSameHost) return [];
  const { preferred, other } = cardsFor(topology, location);
  const locals: LocalCard[] = [
    ...preferred.map(({ name, addresses }) => ({ name, addresses, rank: 0 as const })),
    ...other.map(({ name, addresses }) => ({ name, addresses, rank: 1 as const })),
  ];
  const routes = pairCards(locals, remotes, isIPv6(segment.host));
  return routes.length === 1 && !topology.isGiven ? [] : routes;
}

function remotesOf(segment: Segment, isMatrixGiven: boolean): RemoteCard[] {
  const { host, port } = segment;
  const endpoint = readEndpoint(segment);
  const itself = { name: undefined, addresses: [host], port };
  if (endpoint === undefined) return isMatrixGiven && isIP(host) !== 0 ? [{ ...itself, rank: 0 }] : [];
  const cards = remoteCardsFor(endpoint);
  const isAmong = cards.some(({ addresses }) => addresses.includes(host));
  // Behind a router that translates addresses, only the host that it names itself by leads there.
  return isAmong || isIP(host) === 0 ? cards : [...cards, { ...itself, rank: 1 }];
}
