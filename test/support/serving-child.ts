import type { Segment } from '../../src/engine/segment.ts';
import type { TransferEngineOptions } from '../../src/engine/transfer-engine.ts';
import { segmentAt } from './engines.ts';
import { type NodeChild, startNodeChild } from './node-child.ts';
import { FILL_PATTERN_SOURCE } from './patterned-memory.ts';

export interface ServingChildOptions {
  readonly sizeBytes: number;
  readonly seed?: number;
  readonly remoteAccess?: 'read' | 'read-write';
  /** Serves this file through a mapping instead of memory with the pattern. */
  readonly file?: string;
  readonly engine?: Partial<Omit<TransferEngineOptions, 'metadata' | 'logger'>>;
}

/** An engine in a process of its own that serves one buffer. Prints `fault` for each fault in its memory. */
export interface ServingChild extends AsyncDisposable {
  readonly child: NodeChild;
  readonly segment: Segment;
  readonly address: bigint;
}

const SOURCE = `
${FILL_PATTERN_SOURCE}
const { TransferEngine } = await dist('engine/transfer-engine.js');
const { sizeBytes, seed, remoteAccess, file, engine: options } = JSON.parse(process.argv.at(-1));
const engine = await TransferEngine.open({
  metadata: 'memory:', segmentName: 'child', host: '127.0.0.1', ioWorkers: 2, ...options,
});
engine.onMemoryFault((address, lengthBytes) => console.log('fault', address, lengthBytes));
let region;
if (file === undefined) {
  region = (await dist('memory/memory-region.js')).allocate(sizeBytes);
  fillPattern(region.view(), seed);
} else {
  region = await (await dist('memory/map-file.js')).mapFile(file);
}
await engine.registerLocalMemory(region.address, sizeBytes, '*', { remoteAccess });
console.log('ready', engine.dataPort, String(region.address));
setInterval(() => console.log('rss', process.memoryUsage.rss()), 200);
`;

export async function startServingChild(options: ServingChildOptions): Promise<ServingChild> {
  const child = startNodeChild(SOURCE, [JSON.stringify({ seed: 7, remoteAccess: 'read', ...options })]);
  try {
    const [, port, address] = (await child.line('ready')).split(' ');
    return {
      child,
      segment: segmentAt(Number(port)),
      address: BigInt(address ?? 0),
      [Symbol.asyncDispose]: () => child.kill(),
    };
  } catch (error) {
    await child.kill();
    throw error;
  }
}
