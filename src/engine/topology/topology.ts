/** Which cards serve which memory: the matrix that was given, or one made of what this machine has. */
import { readdirSync } from 'node:fs';
import { ANY_LOCATION, type NicPriorityMatrix, parseNicPriorityMatrix } from '../nic-priority-matrix.ts';
import { discoverRdmaDevices, type RdmaDeviceInfo, type RdmaDevices } from '../transport/rdma/rdma-devices.ts';
import { discoverCards, type NetworkCard, usableCards } from './network-cards.ts';

/** A device that moves memory by itself; TCP does not use it. */
export interface RdmaDevice {
  readonly name: string;
  readonly numaNode: number | undefined;
  readonly isUp: boolean;
  readonly link: 'ethernet' | 'infiniband';
  /** As the driver says it, as "100 Gb/sec (4X EDR)". */
  readonly rate: string | undefined;
  /** Address that peers send to; undefined when it has none that can be used. */
  readonly gid: string | undefined;
  /** Of that address in the port's table, and which version of RoCE it means. */
  readonly gidIndex: number | undefined;
  readonly gidType: string | undefined;
  /** Why it is not used; undefined: it is, unless a matrix names others only. */
  readonly unusedBecause: string | undefined;
}

export interface Topology {
  /** Every interface that is up, used or not. */
  readonly cards: readonly NetworkCard[];
  readonly devices: readonly RdmaDevice[];
  /** Why no RDMA device can be used; undefined when one can. */
  readonly devicesUnusedBecause?: string | undefined;
  readonly matrix: NicPriorityMatrix;
  /** Whether somebody gave the matrix; else it was made of the cards. */
  readonly isGiven: boolean;
}

export interface RankedCards {
  readonly preferred: readonly NetworkCard[];
  /** For when none of the preferred works. */
  readonly other: readonly NetworkCard[];
}

export interface TopologySources {
  readonly cards?: readonly NetworkCard[];
  readonly rdma?: RdmaDevices;
  /** NUMA nodes of this machine. */
  readonly nodes?: readonly number[];
}

const BYTES_PER_MEGABIT = 125_000;
/** About what one connection over loopback carries. */
const LOOPBACK_BYTES_PER_SECOND = 2.5e9;

/**
 * @param input - A matrix as JSON text or object; absent or empty: one is made of all usable cards.
 * @throws P2P_INVALID_ARGUMENT The matrix has another shape, or names a card that this host does not have.
 */
export function readTopology(
  input: string | NicPriorityMatrix | undefined,
  { cards = discoverCards(), rdma = discoverRdmaDevices(), nodes = numaNodes() }: TopologySources = {},
): Topology {
  const given = parseNicPriorityMatrix(input);
  const devices = rdma.devices.map(describeDevice);
  const usable = [...usableCards(cards), ...devices.filter(({ unusedBecause }) => unusedBecause === undefined)];
  const matrix = given ?? makeMatrix(usable, nodes);
  return { cards, devices, devicesUnusedBecause: rdma.reason, matrix, isGiven: given !== undefined };
}

function describeDevice({ name, numaNode, isUp, link, rate, gid, unusableBecause }: RdmaDeviceInfo): RdmaDevice {
  const address = { gid: gid?.gid, gidIndex: gid?.index, gidType: gid?.type };
  return { name, numaNode, isUp, link, rate, ...address, unusedBecause: unusableBecause };
}

/** The same for TCP: a matrix that names RDMA devices alone says nothing about network cards, so that all are used. */
export function topologyForTcp(topology: Topology): Topology {
  const { cards, matrix, isGiven } = topology;
  const named = Object.values(matrix).flat(2);
  if (!isGiven || cards.some(({ name }) => named.includes(name))) return topology;
  return { ...topology, matrix: makeMatrix(usableCards(cards), numaNodes()), isGiven: false };
}

/** The cards that the matrix names for any memory. */
export function namedCards({ cards, matrix }: Topology): NetworkCard[] {
  const named = Object.values(matrix).flat(2);
  return cards.filter((card) => named.includes(card.name));
}

/**
 * What the cards in use carry each way, together.
 *
 * @param topology - Undefined: peers are on this machine only.
 * @param limit - Bytes a second that are not to be exceeded; undefined: there is no limit.
 * @returns Bytes a second; undefined when a card does not tell its speed and there is no limit.
 */
export function linkBytesPerSecond(topology: Topology | undefined, limit?: number): number | undefined {
  const speed = topology === undefined ? LOOPBACK_BYTES_PER_SECOND : speedOf(namedCards(topology));
  return speed === undefined || limit === undefined ? (limit ?? speed) : Math.min(speed, limit);
}

function speedOf(cards: readonly NetworkCard[]): number | undefined {
  const speeds = cards.flatMap(({ speedMbps }) => speedMbps ?? []);
  if (speeds.length === 0 || speeds.length < cards.length) return undefined;
  return speeds.reduce((sum, mbps) => sum + mbps, 0) * BYTES_PER_MEGABIT;
}

/** The cards for memory at a location. `*` without a row of its own means all that any row names. */
export function cardsFor({ cards, matrix }: Topology, location: string): RankedCards {
  const [preferred, other] = rowOf(matrix, location);
  const find = (names: readonly string[]): NetworkCard[] =>
    names.flatMap((name) => cards.find((card) => card.name === name) ?? []);
  return { preferred: find(preferred), other: find(other.filter((name) => !preferred.includes(name))) };
}

/** The row of a location, else that of `*`, else everything that is named anywhere. */
export function rowOf(matrix: NicPriorityMatrix, location: string): NicPriorityMatrix[string] {
  const row = Object.hasOwn(matrix, location) ? matrix[location] : matrix[ANY_LOCATION];
  if (row !== undefined) return row;
  const rows = Object.values(matrix);
  const named = (rank: 0 | 1): string[] => [...new Set(rows.flatMap((lists) => lists[rank]))];
  return [named(0), named(1)];
}

type NamedCard = Pick<NetworkCard, 'name' | 'numaNode'>;

/** Cards on a node are preferred for its memory; where nobody says which are near, all are. */
function makeMatrix(cards: readonly NamedCard[], nodes: readonly number[]): NicPriorityMatrix {
  const names = (chosen: readonly NamedCard[]): string[] => chosen.map(({ name }) => name);
  const rows = nodes.map((node): [string, NicPriorityMatrix[string]] => {
    const isNear = ({ numaNode }: NamedCard): boolean => numaNode === undefined || numaNode === node;
    const near = cards.filter(isNear);
    if (near.length === 0) return [`cpu:${node}`, [names(cards), []]];
    return [`cpu:${node}`, [names(near), names(cards.filter((card) => !isNear(card)))]];
  });
  return Object.fromEntries([[ANY_LOCATION, [names(cards), []]], ...rows]);
}

function numaNodes(): number[] {
  try {
    const names = readdirSync('/sys/devices/system/node');
    const nodes = names.flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []).map(Number);
    return nodes.length === 0 ? [0] : nodes.sort((a, b) => a - b);
  } catch {
    return [0]; // a kernel without NUMA
  }
}
