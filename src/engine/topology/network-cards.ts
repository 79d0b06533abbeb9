/**
 * The network cards of this machine: which there are, where they answer, how fast they are and to which processor they
 * are near. What is up comes from the kernel's list of addresses, which is always that of the own network namespace;
 * the rest from sysfs, where it is known at all.
 */
import os from 'node:os';
import path from 'node:path';
import { namesIn, readText } from './sysfs.ts';

export interface CardAddress {
  readonly address: string;
  readonly family: 4 | 6;
  /** Bits of the address that name its network. */
  readonly prefixLength: number;
}

export interface NetworkCard {
  readonly name: string;
  /** Without link-local ones, which mean nothing on another link. */
  readonly addresses: readonly CardAddress[];
  /** As the driver says, in Mbit/s; undefined when it does not know, or when there is no hardware below: `veth` always says 10,000. */
  readonly speedMbps: number | undefined;
  /** Undefined on machines of one node, and for virtual cards. */
  readonly numaNode: number | undefined;
  /** Why it is not used unless a matrix names it; undefined: it is used. */
  readonly unusedBecause: string | undefined;
}

export interface CardSources {
  /** As `os.networkInterfaces()` tells: interfaces that are up and have a carrier. */
  readonly interfaces?: NodeJS.Dict<os.NetworkInterfaceInfo[]>;
  readonly sysfs?: string;
}

const SYSFS = '/sys/class/net';
const RDMA_SYSFS = '/sys/class/infiniband';
/** Of `type` in sysfs: Ethernet, and IP over InfiniBand. */
const CARD_TYPES = ['1', '32'];

/** Every interface that is up, loopback included, in the order of the system. */
export function discoverCards({ interfaces = os.networkInterfaces(), sysfs = SYSFS }: CardSources = {}): NetworkCard[] {
  const found = Object.entries(interfaces).map(([name, entries]) => readCard(name, entries ?? [], sysfs));
  // A machine that has nothing but loopback is not without network: its processes reach each other.
  if (found.some(({ unusedBecause }) => unusedBecause === undefined)) return found;
  return found.map((card) => (card.unusedBecause === 'loopback' ? { ...card, unusedBecause: undefined } : card));
}

/** Those that are used when no matrix says otherwise. */
export function usableCards(cards: readonly NetworkCard[]): NetworkCard[] {
  return cards.filter(({ unusedBecause }) => unusedBecause === undefined);
}

/** Names of all interfaces and RDMA devices of this machine, those that are down too. */
export function cardNames(): string[] {
  return [
    ...new Set([...Object.keys(os.networkInterfaces()), ...namesIn(SYSFS).filter(isInterface), ...namesIn(RDMA_SYSFS)]),
  ];
}

/** `bonding_masters` is a file between them. */
function isInterface(name: string): boolean {
  return readText(path.join(SYSFS, name), 'ifindex') !== undefined;
}

/** Addresses of cards that are up now, link-local ones too: what is missing here cannot carry bytes. */
export function presentAddresses(): Set<string> {
  const entries = Object.values(os.networkInterfaces()).flatMap((list) => list ?? []);
  return new Set(entries.map(({ address }) => address));
}

function readCard(name: string, entries: readonly os.NetworkInterfaceInfo[], sysfs: string): NetworkCard {
  const folder = path.join(sysfs, name);
  const addresses = entries.filter(({ address }) => !isLinkLocal(address)).map(readAddress);
  return {
    name,
    addresses,
    speedMbps: isHardware(folder) ? positive(readText(folder, 'speed')) : undefined,
    numaNode: atLeast0(readText(folder, 'device/numa_node')),
    unusedBecause: entries.some(({ internal }) => internal) ? 'loopback' : whyUnused(folder, addresses),
  };
}

function readAddress({ address, family, cidr }: os.NetworkInterfaceInfo): CardAddress {
  const isIpv6 = family === 'IPv6';
  const prefixLength = Number(cidr?.split('/')[1] ?? (isIpv6 ? 128 : 32));
  return { address, family: isIpv6 ? 6 : 4, prefixLength };
}

function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address) || address.startsWith('169.254.');
}

/** What containers and tunnels put on a machine is no card of its own: its bytes leave through another one. */
function whyUnused(folder: string, addresses: readonly CardAddress[]): string | undefined {
  const type = readText(folder, 'type');
  if (type !== undefined && !CARD_TYPES.includes(type)) return 'a tunnel';
  if (namesIn(path.join(folder, 'bridge')).length > 0 && !isHardware(folder)) return 'a bridge of virtual interfaces';
  if (addresses.length === 0) return 'no address beyond its link';
  return undefined;
}

/** Whether the interface is a device, or one lies below it, as below a bond, a VLAN or a bridge. */
function isHardware(folder: string): boolean {
  if (namesIn(path.join(folder, 'device')).length > 0) return true;
  const lower = namesIn(folder).flatMap((name) => /^lower_(.+)$/.exec(name)?.[1] ?? []);
  return lower.some((name) => isHardware(path.join(path.dirname(folder), name)));
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return value > 0 ? value : undefined; // -1: not known
}

function atLeast0(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}
