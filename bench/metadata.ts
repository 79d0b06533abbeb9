/**
 * What the metadata costs: latency of register, list and the start of a pull, and commits a call, with 1,
 * 1,000 and 10,000 objects in the store, on a real etcd and on the embedded store; and the
 * size of all records of a 1 TB object, computed from its layout.
 *
 *   npm run bench:metadata -- [--objects 1,1000,10000]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { P2PStore } from '../src/index.ts';
import type { MetadataStore } from '../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../src/metadata/open-metadata-store.ts';
import { objectKey, sourceKey } from '../src/store/record-keys.ts';
import { encodeObjectRecord, encodeSourceRecord } from '../src/store/records.ts';
import { choosePieceSizeBytes } from '../src/swarm/layout.ts';
import { startEtcd } from '../test/support/etcd.ts';
import { printTable, writeReport } from './support/report.ts';
import { median, quantile } from './support/statistics.ts';

const MIB = 1024 * 1024;
const OBJECT_BYTES = 4096;
/** Timed calls of each kind, once the store is filled. */
const SAMPLES = 50;
/** Registrations under way while filling. */
const LANES = 64;

interface Measurement {
  readonly store: string;
  readonly objects: number;
  readonly registerMs: readonly number[];
  readonly listMs: readonly number[];
  readonly pullMs: readonly number[];
  readonly commitsPerRegister: number;
  readonly commitsPerPull: number;
}

const { values } = parseArgs({ options: { objects: { type: 'string' } } });
const counts = (values.objects ?? '1,1000,10000').split(',').map(Number);

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

async function revisionOf(metadata: MetadataStore): Promise<number> {
  return Number((await metadata.list('p2pstore/v1/none/')).revision);
}

async function measure(kind: string, uri: string, objects: number): Promise<Measurement> {
  await using metadata = await openMetadataStore(uri);
  await using gold = await P2PStore.open(uri, `127.0.0.1:${process.pid}1`);
  await using receiver = await P2PStore.open(uri, `127.0.0.1:${process.pid}2`);
  await using source = gold.allocate(OBJECT_BYTES * (objects + SAMPLES));
  await using target = receiver.allocate(OBJECT_BYTES * SAMPLES);
  const register = (index: number): Promise<void> =>
    gold.register(`bench/${index}`, [source.address + BigInt(index * OBJECT_BYTES)], [OBJECT_BYTES], 64 * MIB, '*');

  let next = 0;
  const fill = async (): Promise<void> => {
    while (next < objects) await register(next++);
  };
  await Promise.all(Array.from({ length: LANES }, fill));

  const registerMs: number[] = [];
  const listMs: number[] = [];
  const pullMs: number[] = [];
  const beforeRegister = await revisionOf(metadata);
  for (let sample = 0; sample < SAMPLES; sample++) registerMs.push(await timed(() => register(objects + sample)));
  const commitsPerRegister = ((await revisionOf(metadata)) - beforeRegister) / SAMPLES;
  for (let sample = 0; sample < Math.min(SAMPLES, 10); sample++) listMs.push(await timed(() => gold.list('bench/')));
  const beforePull = await revisionOf(metadata);
  for (let sample = 0; sample < SAMPLES; sample++) {
    const address = target.address + BigInt(sample * OBJECT_BYTES);
    pullMs.push(await timed(() => receiver.getReplica(`bench/${sample % objects}`, [address], [OBJECT_BYTES])));
    if (objects === 1) await receiver.deleteReplica('bench/0');
  }
  const commitsPerPull = ((await revisionOf(metadata)) - beforePull) / SAMPLES;
  return { store: kind, objects, registerMs, listMs, pullMs, commitsPerRegister, commitsPerPull };
}

/** All records of one object of `totalBytes` in `buffers` equal buffers. */
function recordBytes(totalBytes: number, buffers: number): { readonly object: number; readonly source: number } {
  const name = 'checkpoints/model/step-1000000/model-00001-of-00064.safetensors';
  const segment = '10.123.123.123:65535';
  const sizes = Array.from({ length: buffers }, () => totalBytes / buffers);
  const addresses = sizes.map((size, index) => 0x7f00_0000_0000 + index * size);
  const generation = '0'.repeat(32);
  const object = encodeObjectRecord(objectKey(name), {
    version: 1,
    generation,
    sizes,
    maxShardSizeBytes: 64 * MIB,
    pieceSizeBytes: choosePieceSizeBytes({ totalSize: totalBytes, maxShardSize: 64 * MIB }),
    digest: { algorithm: 'blake3', root: '0'.repeat(64) },
  });
  const source = encodeSourceRecord(sourceKey(name, segment, 'gold'), {
    version: 1,
    generation,
    role: 'gold',
    isComplete: true,
    peerEndpoint: segment,
    addresses,
    sizes,
  });
  return {
    object: object.byteLength + objectKey(name).length,
    source: source.byteLength + sourceKey(name, segment, 'gold').length,
  };
}

function summary(samples: readonly number[]): string {
  return `${median(samples).toFixed(1)} / ${quantile(samples, 0.99).toFixed(1)}`;
}

async function main(directory: string): Promise<void> {
  const measurements: Measurement[] = [];
  for (const objects of counts) {
    measurements.push(await measure('embedded', `local:${path.join(directory, `objects-${objects}`)}`, objects));
    await using etcd = await startEtcd();
    measurements.push(await measure('etcd', etcd.uri, objects));
  }
  printTable(
    measurements.map((measurement) => ({
      store: measurement.store,
      objects: String(measurement.objects),
      'register ms p50/p99': summary(measurement.registerMs),
      'list ms p50/p99': summary(measurement.listMs),
      '4 KiB pull ms p50/p99': summary(measurement.pullMs),
      'commits/register': measurement.commitsPerRegister.toFixed(1),
      'commits/pull': measurement.commitsPerPull.toFixed(1),
    })),
  );
  console.log('\nRecords of a 1 TB object (goal: < 16 kB together, plus < 1 kB a source)');
  const records = [1, 8, 16].map((buffers) => ({ buffers, ...recordBytes(1e12, buffers) }));
  printTable(
    records.map(({ buffers, object, source }) => ({
      buffers: String(buffers),
      'object record B': String(object),
      'source record B': String(source),
      'with 1 source B': String(object + source),
    })),
  );
  writeReport('metadata', { measurements, records });
}

const directory = mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bench-'));
try {
  await main(directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
