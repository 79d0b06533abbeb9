import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../src/core/errors.ts';
import type { TransferEngine, TransferEngineOptions } from '../../../../src/engine/transfer-engine.ts';
import { HttpMetadataClient } from '../../../../src/metadata/http/http-metadata-client.ts';
import { MetadataServer } from '../../../../src/metadata/http/metadata-server.ts';
import { openEngine, outcomeOf, transfer } from '../../../support/engines.ts';
import { allocateBytes, expectSameBytes, fillPattern } from '../../../support/patterned-memory.ts';

const SIZE_BYTES = 100_000;

describe('engines over an HTTP metadata service', () => {
  let service: MetadataServer;
  let records: HttpMetadataClient;

  beforeEach(async () => {
    service = await MetadataServer.open();
    records = new HttpMetadataClient(service.uri);
  });
  afterEach(() => service.close());

  function open(segmentName: string, options: Partial<TransferEngineOptions> = {}): Promise<TransferEngine> {
    return openEngine({ metadata: service.uri, segmentName, ...options });
  }

  test('find each other, and take their records back', async () => {
    await using theirs = allocateBytes(SIZE_BYTES);
    await using ours = allocateBytes(SIZE_BYTES);
    fillPattern(theirs.bytes, 5);
    const server = await open('server');
    await using client = await open('client');
    await server.registerLocalMemory(theirs.address, SIZE_BYTES);
    await client.registerLocalMemory(ours.address, SIZE_BYTES);
    const segment = await client.openSegment('server');
    expect(segment).toMatchObject({ port: server.dataPort, rpcPort: server.rpcPort });
    await transfer(client, segment, {
      opcode: 'read',
      local: ours.address,
      remote: theirs.address,
      lengthBytes: SIZE_BYTES,
    });
    expectSameBytes(ours.bytes, theirs.bytes);
    await server.unregisterLocalMemory(theirs.address);
    expect((await client.openSegment('server', { refresh: true })).buffers).toEqual([]);
    await server.close();
    expect(await records.get('mooncake/ram/server')).toBeUndefined();
    expect(await records.get('mooncake/rpc_meta/server')).toBeUndefined();
    expect(await outcomeOf(client.openSegment('server', { refresh: true }))).toBe(ErrorCode.SegmentNotFound);
  });

  test('a name is refused while its holder lives, and taken over from one that is dead', async () => {
    const first = await open('server');
    const [descriptor, location] = await Promise.all([
      records.get('mooncake/ram/server'),
      records.get('mooncake/rpc_meta/server'),
    ]);
    expect(await outcomeOf(open('server'))).toBe(ErrorCode.SegmentInUse);
    await first.close();
    await records.put('mooncake/ram/server', descriptor ?? new Uint8Array());
    await records.put('mooncake/rpc_meta/server', location ?? new Uint8Array());
    await using second = await open('server');
    expect(await second.openSegment('server')).toMatchObject({ port: second.dataPort });
  });

  test('leaves the record of an engine of another kind alone', async () => {
    await records.put('mooncake/ram/server', Buffer.from('{"protocol":"rdma"}'));
    await records.put('mooncake/rpc_meta/server', Buffer.from('{"ip_or_host_name":"h","rpc_port":1}'));
    expect(await outcomeOf(open('server'))).toBe(ErrorCode.SegmentInUse);
  });

  test('a cluster id keeps the names of two clusters apart', async () => {
    await using blue = await open('server', { metadataClusterId: 'blue' });
    await using red = await open('server', { metadataClusterId: 'red/' });
    expect(await records.get('mooncake/blue/ram/server')).toBeDefined();
    expect(await records.get('mooncake/red/rpc_meta/server')).toBeDefined();
    expect((await blue.openSegment('server')).port).toBe(blue.dataPort);
    expect((await red.openSegment('server')).port).toBe(red.dataPort);
    expect(await outcomeOf(open('server', { metadataClusterId: 'a b' }))).toBe(ErrorCode.InvalidArgument);
  });

  test('open() rejects with P2P_METADATA_UNAVAILABLE when the service is away, and leaves nothing open', async () => {
    await service.close();
    expect(await outcomeOf(open('server'))).toBe(ErrorCode.MetadataUnavailable);
  });
});
