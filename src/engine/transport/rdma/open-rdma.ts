/** Decides which cards an engine uses for RDMA, and opens them. Where there is none, the transport is not loaded. */
import type { Logger } from '../../../observability/logger.ts';
import { ANY_LOCATION, type NicPriorityMatrix } from '../../nic-priority-matrix.ts';
import { rowOf } from '../../topology/topology.ts';
import { discoverRdmaDevices, type RdmaDeviceInfo, type RdmaDevices } from './rdma-devices.ts';
import type { RdmaTransport } from './rdma-transport.ts';

export interface OpenRdmaOptions {
  readonly segmentName: string;
  /** Undefined: every card that can be used is. */
  readonly matrix: NicPriorityMatrix | undefined;
  readonly logger: Logger;
  readonly discover?: (() => RdmaDevices) | undefined;
}

/** @returns The transport, or why there is none. */
export async function openRdma({
  segmentName,
  matrix,
  logger,
  discover = discoverRdmaDevices,
}: OpenRdmaOptions): Promise<RdmaTransport | string> {
  const { devices, reason } = discover();
  const isNamed = ({ name }: RdmaDeviceInfo): boolean =>
    Object.values(matrix ?? {}).some((row) => row.flat().includes(name));
  const wanted = matrix === undefined ? devices : devices.filter(isNamed);
  if (matrix !== undefined && wanted.length === 0) return reason ?? 'the NIC priority matrix names no RDMA device';
  const usable = wanted.filter(({ unusableBecause }) => unusableBecause === undefined);
  for (const { name, unusableBecause } of wanted) {
    if (unusableBecause !== undefined) logger.warn({ device: name, reason: unusableBecause }, 'RDMA device not used');
  }
  if (usable.length === 0)
    return reason ?? wanted.map((device) => `${device.name}: ${device.unusableBecause}`).join(', ');
  try {
    const preferredFor = preferenceOf(usable, matrix);
    const { RdmaTransport } = await import('./rdma-transport.ts');
    return new RdmaTransport({ segmentName, devices: usable, preferredFor, matrix, logger });
  } catch (error) {
    logger.warn({ error }, 'RDMA not used');
    return error instanceof Error ? error.message : String(error);
  }
}

/** By the matrix, or without one by the node of the machine that a card is near to. */
function preferenceOf(
  devices: readonly RdmaDeviceInfo[],
  matrix: NicPriorityMatrix | undefined,
): (location: string | undefined) => readonly string[] {
  const names = (chosen: readonly RdmaDeviceInfo[]): string[] => chosen.map(({ name }) => name);
  return (location = ANY_LOCATION) => {
    if (matrix === undefined) return names(devices.filter(({ numaNode }) => location === `cpu:${numaNode}`));
    const [preferred] = rowOf(matrix, location);
    return names(devices.filter(({ name }) => preferred.includes(name)));
  };
}
