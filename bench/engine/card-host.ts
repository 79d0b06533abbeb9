/**
 * One engine on a host with several cards: `card-host SIZE METADATA NAME HOST`. Serves its memory, and reads that of another:
 *
 *   read MATRIX BYTES SEGMENT ADDRESS    reads once over the cards of that matrix; answers with seconds
 *   start MATRIX BYTES SEGMENT ADDRESS   reads over and over with an engine that knows of no faults yet, and notes every 20 ms what each card has received
 *   stop                                 answers with these notes, and how many reads failed
 */
import { readFileSync } from 'node:fs';
import { allocate, type Segment, TransferEngine } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

/** What the cards have received by a time, in bytes; times by the wall clock, which all processes share. */
export interface CardSample {
  readonly atMs: number;
  readonly received: readonly number[];
}

const SAMPLE_MS = 20;
const REQUEST_BYTES = 16 * 1024 * 1024;

const [size = '0', metadata = '', name = '', host = ''] = process.argv.slice(2);
const sizeBytes = Number(size);
const region = allocate(sizeBytes);
region.view().fill(name === 'right' ? 1 : 2);
const engines = new Map<string, TransferEngine>();

async function engineWith(matrix: string): Promise<TransferEngine> {
  const known = engines.get(matrix);
  if (known !== undefined) return known;
  const segmentName = `${name}-${engines.size}`;
  // Both hosts are this machine: other transports would go past the cards.
  const options = { metadata, segmentName, host, transports: ['tcp'] as const, nicPriorityMatrix: matrix };
  const engine = await TransferEngine.open(options);
  await engine.registerLocalMemory(region.address, sizeBytes);
  engines.set(matrix, engine);
  return engine;
}

async function closeAll(): Promise<void> {
  for (const engine of engines.values()) await engine.close();
  engines.clear();
}

async function read(engine: TransferEngine, segment: Segment, bytes: number, address: bigint): Promise<void> {
  const count = Math.ceil(bytes / REQUEST_BYTES);
  const requests = Array.from({ length: count }, (_, index) => {
    const offset = BigInt((index * REQUEST_BYTES) % sizeBytes);
    const lengthBytes = Math.min(REQUEST_BYTES, sizeBytes - Number(offset), bytes - index * REQUEST_BYTES);
    const addresses = { localAddress: region.address + offset, remoteAddress: address + offset };
    return { opcode: 'read' as const, segment, lengthBytes, ...addresses };
  });
  await engine.submitTransfer(requests).done;
}

function receivedBy(card: string): number {
  try {
    return Number(readFileSync(`/sys/class/net/${card}/statistics/rx_bytes`, 'utf8'));
  } catch {
    return 0; // this host has fewer cards
  }
}

let samples: CardSample[] = [];
let failures = 0;
let timer: NodeJS.Timeout | undefined;
let reading = Promise.resolve();

function start(engine: TransferEngine, segment: Segment, bytes: number, address: bigint): void {
  samples = [];
  failures = 0;
  timer = setInterval(() => {
    samples.push({ atMs: Date.now(), received: ['card0', 'card1'].map(receivedBy) });
  }, SAMPLE_MS);
  reading = (async () => {
    while (timer !== undefined) {
      await read(engine, segment, bytes, address).catch(() => {
        failures += 1;
      });
    }
  })();
}

const own = await engineWith('');
announce({ segment: own.segmentName, address: String(region.address) });
await answerLines(async ([command, matrix = '', bytes, segmentName = '', address = '0']) => {
  if (command === 'stop') {
    clearInterval(timer);
    timer = undefined;
    await reading;
    await closeAll();
    return { samples, failures };
  }
  if (command === 'start') await closeAll();
  const engine = await engineWith(matrix);
  const segment = await engine.openSegment(segmentName);
  const startMs = performance.now();
  if (command === 'start') start(engine, segment, Number(bytes), BigInt(address));
  else await read(engine, segment, Number(bytes), BigInt(address));
  return { seconds: (performance.now() - startMs) / 1000 };
});
await closeAll();
await region.close();
