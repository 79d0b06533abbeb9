import { describe, expect, test } from 'vitest';
import { ErrorCode, isP2PStoreError } from '../../../src/core/errors.ts';
import {
  decodeSegment,
  descriptorKey,
  encodeDescriptor,
  encodeLocation,
  locationKey,
} from '../../../src/engine/segment-descriptor.ts';
import { CAPTURED_EMPTY_DESCRIPTOR, CAPTURED_RECORDS } from '../../support/captured-frames.ts';

const NAME = 'node-1:12345';
const LOCATION = encodeLocation('10.0.0.2');

function bytesOf(value: unknown): Uint8Array {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
}

function decode(descriptor: unknown, location: Uint8Array = LOCATION): ReturnType<typeof decodeSegment> {
  return decodeSegment(NAME, bytesOf(descriptor), location);
}

function errorOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

const valid = {
  buffers: [{ addr: 139_887_366_406_144, length: 1_073_741_824, name: NAME }],
  name: NAME,
  protocol: 'tcp',
  tcp_data_port: 15_428,
  tcp_proto_version: 2,
  timestamp: '2026-08-22 13:12:18.123456',
};

describe('decodeSegment', () => {
  test('reads what a real engine left in etcd', () => {
    const segment = decodeSegment(
      CAPTURED_RECORDS.name,
      bytesOf(CAPTURED_RECORDS.descriptor),
      bytesOf(CAPTURED_RECORDS.location),
    );
    expect(segment).toEqual({
      name: CAPTURED_RECORDS.name,
      host: '127.0.0.1',
      port: 15_558,
      rpcPort: 15_159,
      protocolVersion: 2,
      buffers: [{ address: 140_429_324_451_840, lengthBytes: 268_435_456, location: CAPTURED_RECORDS.name }],
      instance: undefined,
    });
    expect(decode(CAPTURED_EMPTY_DESCRIPTOR).buffers).toEqual([]);
  });

  test.each([null, undefined, []])('takes %j for a list of no buffers', (buffers) => {
    expect(decode({ ...valid, buffers }).buffers).toEqual([]);
  });

  test('takes a missing framing version for 1, and a later one for 2', () => {
    const { tcp_proto_version: _version, ...legacy } = valid;
    expect(decode(legacy).protocolVersion).toBe(1);
    expect(decode({ ...valid, tcp_proto_version: 1 }).protocolVersion).toBe(1);
    expect(decode({ ...valid, tcp_proto_version: 7 }).protocolVersion).toBe(2);
  });

  test('takes the brackets off an IPv6 host', () => {
    expect(decode(valid, encodeLocation('[fe80::1]')).host).toBe('fe80::1');
  });

  test('passes over fields that it does not know', () => {
    expect(decode({ ...valid, rdma_server_name: 'x', more: [1] }).port).toBe(15_428);
  });

  test.each([
    ['nothing', ''],
    ['no JSON', '{"name":'],
    ['bytes that are no UTF-8', Uint8Array.of(0xff, 0xfe, 0x7b)],
    ['an array', []],
    ['null', null],
    ['another protocol', { ...valid, protocol: 'cxl' }],
    ['two protocols', { ...valid, protocol: ['tcp', 'rdma'] }],
    ['no data port', { ...valid, tcp_data_port: 0 }],
    ['a data port above 65,535', { ...valid, tcp_data_port: 65_536 }],
    ['a port in a string', { ...valid, tcp_data_port: '15428' }],
    ['no name', { ...valid, name: '' }],
    ['a buffer at address 0', { ...valid, buffers: [{ addr: 0, length: 1, name: NAME }] }],
    ['a buffer of no bytes', { ...valid, buffers: [{ addr: 4096, length: 0, name: NAME }] }],
    ['a buffer without a name', { ...valid, buffers: [{ addr: 4096, length: 1, name: '' }] }],
    ['an address that a number cannot hold', JSON.stringify(valid).replace('139887366406144', '18446744073709551615')],
    ['an address in a string', { ...valid, buffers: [{ addr: '4096', length: 1, name: NAME }] }],
  ])('refuses %s', (_name, descriptor) => {
    const bytes = descriptor instanceof Uint8Array ? descriptor : bytesOf(descriptor);
    const error = errorOf(() => decodeSegment(NAME, bytes, LOCATION));
    expect(isP2PStoreError(error, ErrorCode.RecordInvalid) && error.context).toEqual({ key: descriptorKey(NAME) });
    expect(error).toHaveProperty('cause');
  });

  test('refuses a location without a host, and names its key', () => {
    const error = errorOf(() => decode(valid, bytesOf({ rpc_port: 1 })));
    expect(isP2PStoreError(error, ErrorCode.RecordInvalid) && error.context).toEqual({ key: locationKey(NAME) });
  });
});

describe('encodeDescriptor', () => {
  const encoded = encodeDescriptor(
    { name: NAME, dataPort: 15_428, buffers: [{ address: 139_887_366_406_144, lengthBytes: 65_536 }], instance: 'ab' },
    new Date(2026, 7, 2, 3, 4, 5, 6),
  );

  test('writes compact JSON with sorted keys and one newline, of the types that the original reads', () => {
    expect(Buffer.from(encoded).toString()).toBe(
      '{"buffers":[{"addr":139887366406144,"length":65536,"name":"node-1:12345"}],"name":"node-1:12345",' +
        '"p2pstore_instance":"ab","protocol":"tcp","tcp_data_port":15428,"tcp_proto_version":2,' +
        '"timestamp":"2026-08-02 03:04:05.006000"}\n',
    );
  });

  test('says where memory lies, unless nobody knows', () => {
    const buffers = [
      { address: 4096, lengthBytes: 1, location: 'cpu:1' },
      { address: 8192, lengthBytes: 1, location: '*' },
    ];
    const segment = decodeSegment(NAME, encodeDescriptor({ name: NAME, dataPort: 1, buffers }), LOCATION);
    expect(segment.buffers.map(({ location }) => location)).toEqual(['cpu:1', NAME]);
  });

  test('without an instance has exactly the fields of a captured descriptor', () => {
    const ours = encodeDescriptor({ name: NAME, dataPort: 1, buffers: [{ address: 1, lengthBytes: 1 }] });
    const shape = (text: string): unknown =>
      JSON.parse(text, (_key, value) => (Object(value) === value ? value : typeof value));
    expect(shape(Buffer.from(ours).toString())).toEqual(shape(CAPTURED_RECORDS.descriptor));
    const stamp = /"timestamp":"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"/;
    expect(Buffer.from(ours).toString()).toMatch(stamp);
    expect(CAPTURED_RECORDS.descriptor).toMatch(stamp);
  });

  test('is undone by decodeSegment()', () => {
    expect(decodeSegment(NAME, encoded, LOCATION)).toEqual({
      name: NAME,
      host: '10.0.0.2',
      port: 15_428,
      protocolVersion: 2,
      buffers: [{ address: 139_887_366_406_144, lengthBytes: 65_536, location: NAME }],
      instance: 'ab',
    });
  });
});

describe('a segment of RDMA', () => {
  const gid = '00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:02';
  const device = { gid, lid: 0, name: 'mlx5_2' };
  const rdma = {
    devices: [device],
    priorityMatrix: { 'cpu:0': [['mlx5_2'], []] as const },
    keysOf: () => ({ lkey: [7], rkey: [8] }),
  };

  test('is written as Mooncake writes it, and stays one of TCP for us', () => {
    const buffers = [{ address: 4096, lengthBytes: 100, location: 'cpu:0' }];
    const encoded = encodeDescriptor({ name: NAME, dataPort: 5, buffers, rdma });
    const text = Buffer.from(encoded).toString();
    expect(text).toContain(
      '{"buffers":[{"addr":4096,"length":100,"lkey":[7],"name":"cpu:0","p2pstore_location":"cpu:0","rkey":[8]}],' +
        `"devices":[{"gid":"${gid}","lid":0,"name":"mlx5_2"}],"name":"${NAME}",` +
        '"priority_matrix":{"cpu:0":[["mlx5_2"],[]]},"protocol":"rdma","tcp_data_port":5',
    );
    expect(decodeSegment(NAME, encoded, LOCATION)).toMatchObject({ port: 5, buffers });
  });

  test('of an engine of RDMA alone is read with its cards and keys', () => {
    const buffers = [{ addr: 4096, length: 100, lkey: [7], name: 'cpu:0', rkey: [8] }];
    const record = { buffers, devices: [device], name: NAME, protocol: 'rdma', tcp_data_port: 0 };
    const range = { address: 4096, lengthBytes: 100, isReadable: true, isWritable: true, keys: { mlx5_2: 8 } };
    expect(decode(record)).toMatchObject({
      port: 0,
      endpoints: { rdma: { devices: [device], ranges: [range] } },
    });
  });
});

describe('keys', () => {
  test('are those of the original, also for a name with a slash', () => {
    expect(descriptorKey(NAME)).toBe('mooncake/ram/node-1:12345');
    expect(descriptorKey('a/b')).toBe('mooncake/a/b');
    expect(locationKey(NAME)).toBe('mooncake/rpc_meta/node-1:12345');
    expect(Buffer.from(LOCATION).toString()).toBe('{"ip_or_host_name":"10.0.0.2","rpc_port":0}\n');
  });
});
