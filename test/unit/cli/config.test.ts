import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/cli/config.ts';

const invalid = (argument: string) => expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT', context: { argument } });

describe('readConfig', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'p2p-config-'));
  });
  afterEach(() => fs.rm(folder, { recursive: true, force: true }));

  test('has a default for everything', () => {
    expect(readConfig({}, {})).toMatchObject({
      metadataUri: 'local:',
      isMetadataGiven: false,
      etcd: {},
      segmentName: `127.0.0.1:${process.pid}`,
      nicMatrix: undefined,
      dataPort: 0,
      peerPort: 0,
      mooncakeMirror: true,
      maxShardSizeBytes: 64 * 1024 ** 2,
      timeoutMs: undefined,
      json: false,
      quiet: false,
      logLevel: undefined,
      force: false,
      wait: false,
      seed: false,
      watch: false,
      intervalMs: 1_000,
      verify: undefined,
      listen: { host: '127.0.0.1', port: 8080 },
      peers: 4,
      checkpointSizeBytes: 512 * 1024 ** 2,
    });
  });

  test('takes a flag before its environment variable, and that before the default', () => {
    const environment = { P2PSTORE_METADATA: 'etcd://a:1', P2PSTORE_SHARD_SIZE: '1MiB', P2PSTORE_SEGMENT: '' };
    const config = readConfig({ metadata: 'etcd://b:2' }, environment);
    expect(config).toMatchObject({ metadataUri: 'etcd://b:2', isMetadataGiven: true, maxShardSizeBytes: 1024 ** 2 });
    expect(readConfig({}, environment).metadataUri).toBe('etcd://a:1');
  });

  test('reads an address to listen at', () => {
    expect(readConfig({ listen: '[::]:0' }, {}).listen).toEqual({ host: '::', port: 0 });
    for (const listen of ['8080', 'host', 'host:65536', '::1:80']) {
      expect(() => readConfig({ listen }, {})).toThrow('--listen');
    }
  });

  test('listens for scrapes only when told where', () => {
    expect(readConfig({}, {}).metricsListen).toBeUndefined();
    const environment = { P2PSTORE_METRICS_LISTEN: '[::1]:9464' };
    expect(readConfig({}, environment).metricsListen).toEqual({ host: '::1', port: 9464 });
    expect(() => readConfig({ metricsListen: '9464' }, {})).toThrow(invalid('--metrics-listen'));
  });

  test('reads transports from the flag or the variable', () => {
    expect(readConfig({}, {}).transports).toBeUndefined();
    expect(readConfig({ transports: 'local, tcp' }, {}).transports).toEqual(['local', 'tcp']);
    expect(readConfig({}, { P2PSTORE_TRANSPORTS: 'tcp' }).transports).toEqual(['tcp']);
    expect(() => readConfig({ transports: 'pigeon' }, {})).toThrow(invalid('--transports'));
  });

  test('reads rate limits from flags and variables', () => {
    expect(readConfig({}, {})).toMatchObject({
      maxUploadBytesPerSecond: undefined,
      maxDownloadBytesPerSecond: undefined,
    });
    expect(readConfig({ maxUpload: '100MB/s' }, { P2PSTORE_MAX_DOWNLOAD: '800Mbit/s' })).toMatchObject({
      maxUploadBytesPerSecond: 100_000_000,
      maxDownloadBytesPerSecond: 100_000_000,
    });
  });

  test('switches the mirror off by flag or variable', () => {
    expect(readConfig({ mooncakeMirror: 'off' }, {}).mooncakeMirror).toBe(false);
    expect(readConfig({}, { P2PSTORE_MOONCAKE_MIRROR: 'off' }).mooncakeMirror).toBe(false);
    expect(() => readConfig({ mooncakeMirror: 'no' }, {})).toThrow(invalid('--mooncake-mirror'));
  });

  test('names the segment by an address that others reach when the metadata is shared', () => {
    const outside = Object.values(os.networkInterfaces())
      .flatMap((list) => list ?? [])
      .some(({ internal, family }) => !internal && family === 'IPv4');
    const { segmentName } = readConfig({ metadata: 'etcd://a:1' }, {});
    expect(segmentName).toMatch(new RegExp(`^[\\d.]+:${process.pid}$`));
    expect(segmentName.startsWith('127.')).toBe(!outside);
  });

  test('reads the credentials of etcd and the text of its certificates', async () => {
    const file = path.join(folder, 'ca.pem');
    await fs.writeFile(file, 'PEM');
    const environment = { P2PSTORE_ETCD_USER: 'ada', P2PSTORE_ETCD_PASSWORD: 'secret', P2PSTORE_ETCD_CA: file };
    expect(readConfig({}, environment).etcd).toEqual({ username: 'ada', password: 'secret', tls: { ca: 'PEM' } });
  });

  test('reads the NIC matrix from the flag or from the file that it names', async () => {
    const matrix = '{"cpu:0":[["eth0"],[]]}';
    const file = path.join(folder, 'matrix.json');
    await fs.writeFile(file, matrix);
    expect(readConfig({ nicMatrix: matrix }, {}).nicMatrix).toBe(matrix);
    expect(readConfig({ nicMatrix: file }, {}).nicMatrix).toBe(matrix);
    expect(() => readConfig({ nicMatrix: path.join(folder, 'none') }, {})).toThrow(
      expect.objectContaining({ code: 'P2P_FILE_FAILED' }),
    );
  });

  test.each([
    ['shardSize', '3MiB', '--shard-size'],
    ['shardSize', '0', '--shard-size'],
    ['timeout', 'soon', '--timeout'],
    ['verify', 'md5', '--verify'],
    ['logLevel', 'loud', '--log-level'],
    ['dataPort', '65536', '--data-port'],
    ['peerPort', '-1', '--peer-port'],
    ['peerPort', '7e3', '--peer-port'],
    ['interval', '0s', '--interval'],
    ['maxUpload', '0', '--max-upload'],
    ['maxDownload', 'fast', '--max-download'],
    ['peers', '0', '--peers'],
    ['peers', '17', '--peers'],
    ['peers', '1.5', '--peers'],
    ['size', '1KiB', '--size'],
  ])('refuses %s %s', (key, value, argument) => {
    expect(() => readConfig({ [key]: value }, {})).toThrow(invalid(argument));
  });
});
