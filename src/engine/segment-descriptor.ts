/**
 * The two records by which a segment is found, in Mooncake's format so that its engines find us too:
 *
 *   mooncake/ram/<segment>       descriptor: data port, framing version, registered buffers
 *   mooncake/rpc_meta/<segment>  host and RPC port
 *
 * A cluster id, as Mooncake's MC_METADATA_CLUSTER_ID, comes after the first "/": mooncake/<id>/ram/<segment>.
 * A name that holds "/" has its descriptor at mooncake/<segment>. JSON is compact, keys sorted, one
 * newline at the end. The fields `p2pstore_...` are ours; their decoders ignore them.
 */
import { z } from 'zod';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { ANY_LOCATION, type NicPriorityMatrix } from './nic-priority-matrix.ts';
import type { Segment } from './segment.ts';

const PREFIX = 'mooncake/';

/** @param clusterId - Keeps clusters apart that share a metadata store; empty: none. */
export function metadataPrefix(clusterId = ''): string {
  if (clusterId === '') return PREFIX;
  return clusterId.endsWith('/') ? `${PREFIX}${clusterId}` : `${PREFIX}${clusterId}/`;
}

export function descriptorKey(segmentName: string, clusterId?: string): string {
  const prefix = metadataPrefix(clusterId);
  return segmentName.includes('/') ? `${prefix}${segmentName}` : `${prefix}ram/${segmentName}`;
}

export function locationKey(segmentName: string, clusterId?: string): string {
  return `${metadataPrefix(clusterId)}rpc_meta/${segmentName}`;
}

export interface SegmentDescriptor {
  readonly name: string;
  readonly dataPort: number;
  readonly buffers: readonly {
    readonly address: number;
    readonly lengthBytes: number;
    /** Absent: `*`. */
    readonly location?: string | undefined;
  }[];
  /** Random for each engine: tells a restarted store from the one before. Absent in Mooncake's own. */
  readonly instance?: string | undefined;
  /** What transports other than TCP publish, by their name. */
  readonly endpoints?: Readonly<Record<string, unknown>> | undefined;
  /** Given when the segment is one of RDMA for Mooncake's engines too, which use one kind of way alone. */
  readonly rdma?: RdmaListing | undefined;
}

/** What Mooncake's engines read of a segment's RDMA cards. */
export interface RdmaListing {
  readonly devices: readonly { readonly name: string; readonly gid: string; readonly lid: number }[];
  readonly priorityMatrix: NicPriorityMatrix;
  /** Keys of the buffer that starts there, in the order of the devices; undefined: no card reaches it. */
  keysOf(address: number): { readonly lkey: readonly number[]; readonly rkey: readonly number[] } | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

function timestamp(now: Date): string {
  const pad = (value: number, width = 2): string => String(value).padStart(width, '0');
  const day = `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
  const time = `${pad(now.getHours())}:${pad(now.getMinutes())}:${pad(now.getSeconds())}`;
  return `${day} ${time}.${pad(now.getMilliseconds(), 3)}000`;
}

export function encodeDescriptor(descriptor: SegmentDescriptor, now: Date = new Date()): Uint8Array {
  const { name, dataPort, buffers, instance, endpoints, rdma } = descriptor;
  const record = {
    buffers: buffers.map(({ address, lengthBytes, location = ANY_LOCATION }) => ({
      addr: address,
      length: lengthBytes,
      lkey: rdma?.keysOf(address)?.lkey,
      name: rdma === undefined ? name : location,
      p2pstore_location: location === ANY_LOCATION ? undefined : location,
      rkey: rdma?.keysOf(address)?.rkey,
    })),
    devices: rdma?.devices,
    name,
    p2pstore_instance: instance,
    p2pstore_transports: endpoints,
    priority_matrix: rdma?.priorityMatrix,
    protocol: rdma === undefined ? 'tcp' : 'rdma',
    tcp_data_port: dataPort,
    tcp_proto_version: 2,
    timestamp: timestamp(now),
  };
  return encoder.encode(`${JSON.stringify(record)}\n`);
}

/** @param rpcPort - 0: nobody answers there. Transfers never ask it. */
export function encodeLocation(host: string, rpcPort = 0): Uint8Array {
  return encoder.encode(`${JSON.stringify({ ip_or_host_name: host, rpc_port: rpcPort })}\n`);
}

const u32 = z.int().min(0).max(0xffff_ffff);

const descriptorSchema = z
  .object({
    name: z.string().min(1),
    protocol: z.enum(['tcp', 'rdma']),
    tcp_data_port: z.int().min(0).max(65_535),
    tcp_proto_version: z.int().min(1).default(1),
    p2pstore_instance: z.string().optional(),
    p2pstore_transports: z.record(z.string(), z.unknown()).optional().catch(undefined),
    buffers: z
      .array(
        z.object({
          name: z.string().min(1),
          addr: z.int().positive(),
          length: z.int().positive(),
          p2pstore_location: z.string().optional().catch(undefined),
          rkey: z.array(u32).nullish(),
        }),
      )
      .nullish(),
    devices: z
      .array(z.object({ name: z.string().min(1), gid: z.string().min(1), lid: z.int().min(0).default(0) }))
      .nullish(),
  })
  .refine(({ protocol, tcp_data_port: port }) => protocol === 'rdma' || port > 0);

type DescriptorRecord = z.infer<typeof descriptorSchema>;

const locationSchema = z.object({
  ip_or_host_name: z.string().min(1),
  rpc_port: z.int().min(0).max(65_535).catch(0), // who is told wrong can still be read
});

function parse<T>(schema: z.ZodType<T>, key: string, value: Uint8Array): T {
  try {
    return schema.parse(JSON.parse(decoder.decode(value)));
  } catch (cause) {
    throw new P2PStoreError(
      ErrorCode.RecordInvalid,
      `Cannot read record ${key}: it does not describe a TCP segment`,
      { key },
      { cause },
    );
  }
}

/** What an RDMA engine of Mooncake says, in the form in which ours publish it; they answer no questions for keys. */
function rdmaEndpoint({ devices, buffers }: DescriptorRecord): Readonly<Record<string, unknown>> {
  const names = (devices ?? []).map(({ name }) => name);
  const ranges = (buffers ?? []).map(({ addr, length, rkey }) => ({
    address: addr,
    lengthBytes: length,
    isReadable: true,
    isWritable: true,
    keys: Object.fromEntries(
      (rkey ?? []).flatMap((key, index) => (names[index] === undefined ? [] : [[names[index], key]])),
    ),
    preferred: [],
  }));
  return { rdma: { devices: devices ?? [], ranges } };
}

/** @throws P2P_RECORD_INVALID Either record is malformed or of another protocol. */
export function decodeSegment(segmentName: string, descriptor: Uint8Array, location: Uint8Array): Segment {
  const record = parse(descriptorSchema, descriptorKey(segmentName), descriptor);
  const { ip_or_host_name: host, rpc_port: rpcPort } = parse(locationSchema, locationKey(segmentName), location);
  return {
    name: segmentName,
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port: record.tcp_data_port,
    ...(rpcPort > 0 && { rpcPort }),
    protocolVersion: record.tcp_proto_version >= 2 ? 2 : 1,
    buffers: (record.buffers ?? []).map(({ addr, length, name, p2pstore_location: location = name }) => ({
      address: addr,
      lengthBytes: length,
      location,
    })),
    instance: record.p2pstore_instance,
    endpoints: record.p2pstore_transports ?? (record.protocol === 'rdma' ? rdmaEndpoint(record) : undefined),
  };
}
