/**
 * What a store says of its cards in its segment descriptor, so that peers reach it over all of them.
 *
 * The identity is memory that everybody may read, and what stands there: who connects to an address reads it first, as
 * the same private address may belong to different machines in different networks.
 */
import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import { ANY_LOCATION, type NicPriorityMatrix } from '../../nic-priority-matrix.ts';
import { isInNetworkOf, type RemoteCard } from '../../paths/path-pairs.ts';
import type { Segment } from '../../segment.ts';
import type { NetworkCard } from '../../topology/network-cards.ts';
import { namedCards, rowOf, type Topology } from '../../topology/topology.ts';

export const IDENTITY_BYTES = 16;
const CARDS_MAX = 16;
const ADDRESSES_MAX = 8;
const LOCATIONS_MAX = 64;
const NAME_LENGTH_MAX = 64;

export interface TcpIdentity {
  readonly address: number;
  /** {@link IDENTITY_BYTES} in hexadecimal. */
  readonly value: string;
}

export interface TcpEndpoint {
  readonly cards: readonly { readonly name: string; readonly addresses: readonly string[]; readonly port: number }[];
  /** Of the peer's own locations; absent: its cards are all alike. */
  readonly matrix?: NicPriorityMatrix | undefined;
  readonly identity: TcpIdentity;
}

const name = z.string().min(1).max(NAME_LENGTH_MAX);
const names = z.array(name).max(CARDS_MAX);
const schema: z.ZodType<TcpEndpoint> = z.object({
  cards: z
    .array(
      z.object({
        name,
        addresses: z.array(z.string().refine(isReachable)).max(ADDRESSES_MAX),
        port: z.int().min(1).max(65_535),
      }),
    )
    .min(1)
    .max(CARDS_MAX),
  matrix: z
    .record(name, z.tuple([names, names]))
    .refine((matrix) => Object.keys(matrix).length <= LOCATIONS_MAX)
    .optional(),
  identity: z.object({ address: z.int().positive(), value: z.string().regex(/^[0-9a-f]{32}$/) }),
});

/** An address of one machine that others may dial: no loopback, no group, none that means "any". */
function isReachable(address: string): boolean {
  if (isIP(address) === 0 || address.includes('%')) return false;
  if (isIPv6(address)) return !/^(?:::1?$|ff|fe[89ab]|::ffff:)/i.test(address);
  return !/^(?:0|127|22[4-9]|23\d|24\d|25\d)\./.test(address);
}

/**
 * What peers are told of the cards: nothing when they are to dial this machine by an address that none of them has, as
 * behind a router that translates addresses, unless a matrix names the cards.
 */
export async function publishEndpoint(
  topology: Topology,
  host: string,
  port: number,
  identity: TcpIdentity,
): Promise<TcpEndpoint | undefined> {
  const cards = namedCards(topology);
  const addresses = new Set(cards.flatMap((card) => card.addresses.map(({ address }) => address)));
  const isOurs = topology.isGiven || (await resolve(host)).some((address) => addresses.has(address));
  return isOurs ? describeEndpoint(cards, port, identity, topology.isGiven ? topology.matrix : undefined) : undefined;
}

async function resolve(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    return []; // others may know that name
  }
}

/** Cards of which another one has an address in the same network, by their addresses there: routes cannot tell them apart. */
export function cardsByAddress(topology: Topology | undefined): Map<string, string> {
  const cards = topology === undefined ? [] : namedCards(topology);
  const twins = cards.flatMap((card) => {
    const others = cards.filter((other) => other !== card).flatMap(({ addresses }) => addresses);
    const shared = card.addresses.filter(({ address, family }) =>
      others.some((other) => other.family === family && isInNetworkOf(other, address)),
    );
    return shared.map(({ address }): [string, string] => [address, card.name]);
  });
  return new Map(twins);
}

/** Cards and addresses beyond what a reader takes are left out. */
function describeEndpoint(
  cards: readonly NetworkCard[],
  port: number,
  identity: TcpIdentity,
  matrix: NicPriorityMatrix | undefined,
): TcpEndpoint | undefined {
  const described = cards
    .map(({ name: card, addresses }) => ({
      name: card,
      addresses: addresses.map(({ address }) => address).filter(isReachable),
      port,
    }))
    .map((card) => ({ ...card, addresses: card.addresses.slice(0, ADDRESSES_MAX) }))
    .filter(({ addresses }) => addresses.length > 0)
    .slice(0, CARDS_MAX);
  const endpoint = { cards: described, matrix, identity };
  return schema.safeParse(endpoint).success ? endpoint : undefined;
}

/** What a segment says of its cards; undefined when it says nothing, or nothing that makes sense. */
export function readEndpoint({ endpoints }: Segment): TcpEndpoint | undefined {
  const { success, data } = schema.safeParse(endpoints?.['tcp']);
  return success ? data : undefined;
}

/** The peer's cards for its memory at a location, ranked as it wants. */
export function remoteCardsFor({ cards, matrix }: TcpEndpoint, location: string = ANY_LOCATION): RemoteCard[] {
  if (matrix === undefined) return cards.map((card) => ({ ...card, rank: 0 }));
  const row = rowOf(matrix, location);
  return ([0, 1] as const).flatMap((rank) =>
    cards
      .filter((card) => row[rank].includes(card.name) && (rank === 0 || !row[0].includes(card.name)))
      .map((card) => ({ ...card, rank })),
  );
}
