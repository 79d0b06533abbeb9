/** The RDMA devices of this host: which can be used, by which address, and why the others cannot. */
import path from 'node:path';
import { listVerbsDevices } from '../../../native/verbs-device.ts';
import { namesIn, readText } from '../../topology/sysfs.ts';
import { chooseGid, type GidEntry, gidFromGroups } from './gid-choice.ts';

export interface RdmaDeviceInfo {
  readonly name: string;
  /** Port that is used: the first that is active, else 1. */
  readonly port: number;
  readonly isUp: boolean;
  readonly link: 'ethernet' | 'infiniband';
  /** As the driver says it, as "100 Gb/sec (4X EDR)"; undefined when it does not. */
  readonly rate: string | undefined;
  readonly numaNode: number | undefined;
  /** Address that peers send to; undefined when the port has none that can be used. */
  readonly gid: GidEntry | undefined;
  /** Why it cannot be used; undefined: it can. */
  readonly unusableBecause: string | undefined;
}

export interface RdmaDevices {
  readonly devices: readonly RdmaDeviceInfo[];
  /** Why no device can be used; undefined when one can. */
  readonly reason: string | undefined;
}

export interface RdmaSources {
  readonly sysfs?: string;
  readonly list?: typeof listVerbsDevices;
}

const SYSFS = '/sys/class/infiniband';
const STATE_ACTIVE = '4';
/** Tables may have thousands of entries, nearly all empty and at the end. */
const EMPTY_GIDS_MAX = 16;

/** Asks the library and sysfs. Opens no device and never throws. */
export function discoverRdmaDevices({ sysfs = SYSFS, list = listVerbsDevices }: RdmaSources = {}): RdmaDevices {
  const { names, reason } = list();
  const devices = names.map((name) => readDevice(name, path.join(sysfs, name)));
  if (devices.some(({ unusableBecause }) => unusableBecause === undefined)) return { devices, reason: undefined };
  const faults = devices.map(({ name, unusableBecause }) => `${name}: ${unusableBecause}`);
  return { devices, reason: reason ?? faults.join(', ') };
}

function readDevice(name: string, folder: string): RdmaDeviceInfo {
  const port = choosePort(folder);
  const portFolder = path.join(folder, 'ports', String(port));
  const [stateNumber, stateName] = (readText(portFolder, 'state') ?? '0: unknown').split(': ');
  const isUp = stateNumber === STATE_ACTIVE;
  const link = readText(portFolder, 'link_layer') === 'InfiniBand' ? 'infiniband' : 'ethernet';
  const gid = chooseGid(readGids(portFolder, link));
  const node = Number(readText(folder, 'device/numa_node') ?? -1);
  return {
    name,
    port,
    isUp,
    link,
    rate: readText(portFolder, 'rate'),
    numaNode: node >= 0 ? node : undefined,
    gid,
    unusableBecause: whyUnusable(port, isUp, stateName, gid),
  };
}

function whyUnusable(
  port: number,
  isUp: boolean,
  state: string | undefined,
  gid: GidEntry | undefined,
): string | undefined {
  if (!isUp) return `port ${port} is ${state}`;
  if (gid === undefined) return `port ${port} has no GID that can be used: its network interface needs an IP address`;
  return undefined;
}

function choosePort(folder: string): number {
  const ports = namesIn(path.join(folder, 'ports'))
    .map(Number)
    .sort((a, b) => a - b);
  const isActive = (port: number): boolean =>
    readText(path.join(folder, 'ports', String(port)), 'state')?.startsWith(STATE_ACTIVE) === true;
  return ports.find(isActive) ?? ports[0] ?? 1;
}

function readGids(portFolder: string, link: RdmaDeviceInfo['link']): GidEntry[] {
  const entries: GidEntry[] = [];
  const indexes = namesIn(path.join(portFolder, 'gids'))
    .map(Number)
    .sort((a, b) => a - b);
  let empty = 0;
  for (const index of indexes) {
    const gid = gidFromGroups(readText(portFolder, `gids/${index}`) ?? '');
    if (/^[0:]*$/.test(gid)) {
      empty += 1;
      if (empty >= EMPTY_GIDS_MAX) break;
      continue;
    }
    const isVersion2 = readText(portFolder, `gid_attrs/types/${index}`) === 'RoCE v2';
    const type = link === 'infiniband' ? 'InfiniBand' : isVersion2 ? 'RoCE v2' : 'RoCE v1';
    entries.push({ index, gid, type, interface: readText(portFolder, `gid_attrs/ndevs/${index}`) });
  }
  return entries;
}
