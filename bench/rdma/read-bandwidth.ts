/**
 * READ of large requests beside `ib_read_bw`, each between two processes over the same card. Runs in the guest.
 *
 *   read-bandwidth FILE    writes there what each round moved
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { allocate } from '../../src/memory/memory-region.ts';
import { Child } from '../support/child.ts';

const MIB = 1024 * 1024;
const CARD = 'rxe0';
const GID_INDEX = '1';
const ROUNDS = 3;
const CASES = [
  { sizeBytes: MIB, count: 64 },
  { sizeBytes: 16 * MIB, count: 5 },
  { sizeBytes: 64 * MIB, count: 5 },
];

/** MB/s of each round. */
export interface Bandwidth {
  readonly sizeBytes: number;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
}

/** MB/s of ib_read_bw: its own figure, which is in MiB. */
async function perftest(sizeBytes: number, count: number): Promise<number> {
  const options = ['-d', CARD, '-x', GID_INDEX, '-m', '4096', '-s', String(sizeBytes), '-n', String(count), '-F'];
  const server = spawn('ib_read_bw', options, { stdio: 'ignore' });
  const ended = once(server, 'exit');
  await delay(3000); // it says nothing when it listens
  const text = execFileSync('ib_read_bw', [...options, '127.0.0.1'], { encoding: 'utf8' });
  await ended;
  const row = text.split('\n').find((line) => line.trim().startsWith(`${sizeBytes} `));
  return (Number(row?.trim().split(/\s+/)[3]) * MIB) / 1e6;
}

interface Reader {
  /** @returns MB/s. */
  read(sizeBytes: number, count: number): Promise<number>;
  close(): Promise<void>;
}

async function openReader(): Promise<Reader> {
  const server = new Child(process.execPath, [path.join(import.meta.dirname, 'read-server.js')]);
  const {
    segment: name,
    address,
    sizeBytes: limit,
  } = await server.receive<{
    segment: string;
    address: string;
    sizeBytes: number;
  }>();
  const engine = await TransferEngine.open({
    metadata: 'P2PHANDSHAKE',
    segmentName: '127.0.0.1',
    host: '127.0.0.1',
    transports: ['rdma'],
    ioWorkers: 1,
    nicPriorityMatrix: { '*': [[CARD], []] },
  });
  const region = allocate(limit);
  region.view().fill(0);
  await engine.registerLocalMemory(region.address, limit, '*', { remoteAccess: 'none' });
  const segment = await engine.openSegment(name);
  const request = { opcode: 'read', segment, localAddress: region.address, remoteAddress: BigInt(address) } as const;
  return {
    async read(sizeBytes, count) {
      const startMs = performance.now();
      await engine.submitTransfer(Array.from({ length: count }, () => ({ ...request, lengthBytes: sizeBytes }))).done;
      return (sizeBytes * count) / 1e3 / (performance.now() - startMs);
    },
    async close() {
      await engine.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function measure(reader: Reader, sizeBytes: number, count: number): Promise<Bandwidth> {
  const ours: number[] = [];
  const theirs: number[] = [];
  await reader.read(sizeBytes, 2); // connects
  for (let round = 0; round < ROUNDS; round++) {
    theirs.push(await perftest(sizeBytes, count));
    ours.push(await reader.read(sizeBytes, count));
  }
  return { sizeBytes, ours, theirs };
}

const file = process.argv[2];
if (file === undefined) throw new Error('Name a file for what is measured');
const reader = await openReader();
const measured: Bandwidth[] = [];
for (const { sizeBytes, count } of CASES) measured.push(await measure(reader, sizeBytes, count));
writeFileSync(file, JSON.stringify(measured));
await reader.close();
