import { DigestPool } from '../../src/digest/digest-pool.ts';
import type { TransferEngine, TransferEngineOptions } from '../../src/engine/transfer-engine.ts';
import type { MemoryRange } from '../../src/memory/memory-range.ts';
import { digestGold } from '../../src/swarm/digest-gold.ts';
import type { DownloadInput } from '../../src/swarm/download-input.ts';
import { downloadObject } from '../../src/swarm/download-object.ts';
import type { DownloadResult } from '../../src/swarm/download-types.ts';
import type { ObjectLayout } from '../../src/swarm/layout.ts';
import { PeerClient } from '../../src/swarm/peer-client.ts';
import { PeerService } from '../../src/swarm/peer-service.ts';
import { SharedObject } from '../../src/swarm/shared-object.ts';
import type { PeerPlace, SourceFeed, SourceInfo } from '../../src/swarm/source-feed.ts';
import { openEngine } from './engines.ts';
import { allocateBytes, fillPattern, type TestMemory } from './patterned-memory.ts';

/** What a metadata store would list, for a swarm within one process. */
export class TestDirectory {
  #sources: readonly SourceInfo[] = [];
  readonly #listeners = new Set<() => void>();

  put(source: SourceInfo): void {
    this.#change([...this.#sources.filter(({ segment }) => segment !== source.segment), source]);
  }

  remove(segment: string): void {
    this.#change(this.#sources.filter((source) => source.segment !== segment));
  }

  feedFor(ownSegment: string): SourceFeed {
    return {
      current: () => this.#sources.filter(({ segment }) => segment !== ownSegment),
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    };
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  #change(sources: readonly SourceInfo[]): void {
    this.#sources = sources;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** A peer service that tells one address. */
export function placeOf(peerEndpoint: string): PeerPlace {
  return { segment: '', peerEndpoint };
}

export const pieceSizeBytes: number = 64 * 1024;

export function layoutOf(totalSize: number, options: Partial<ObjectLayout> = {}): ObjectLayout {
  return {
    name: 'model/weights',
    generation: '0123456789abcdef0123456789abcdef',
    sizeList: [totalSize],
    totalSize,
    maxShardSize: 2 ** 20,
    pieceSizeBytes,
    digestAlgorithm: 'xxh64',
    ...options,
  };
}

/** A store reduced to what the swarm needs of it: an engine, a peer service and one object in memory. */
export class SwarmNode implements AsyncDisposable {
  readonly engine: TransferEngine;
  readonly peers: PeerService;
  readonly object: SharedObject;
  readonly memory: TestMemory;
  readonly directory: TestDirectory;
  readonly pool: DigestPool;
  readonly #client = new PeerClient();

  private constructor(parts: Pick<SwarmNode, 'engine' | 'peers' | 'object' | 'memory' | 'directory' | 'pool'>) {
    this.engine = parts.engine;
    this.peers = parts.peers;
    this.object = parts.object;
    this.memory = parts.memory;
    this.directory = parts.directory;
    this.pool = parts.pool;
  }

  static async open(
    { directory, pool }: { readonly directory: TestDirectory; readonly pool: DigestPool },
    layout: ObjectLayout,
    role: 'gold' | 'replica',
    sizes: readonly (number | MemoryRange)[] = [layout.totalSize],
    engineOptions: Partial<TransferEngineOptions> = {},
  ): Promise<SwarmNode> {
    const engine = await openEngine(engineOptions);
    const peers = await PeerService.open({ host: '127.0.0.1', segment: engine.segmentName });
    const memory = allocateBytes(Math.max(layout.totalSize, 1));
    let address = Number(memory.address);
    const ranges: MemoryRange[] = sizes.map((lengthBytes) => {
      if (typeof lengthBytes !== 'number') return lengthBytes;
      address += lengthBytes;
      return { address: address - lengthBytes, lengthBytes, access: 'direct' };
    });
    for (const range of ranges) {
      if (range.lengthBytes > 0)
        await engine.registerLocalMemory(range.address, range.lengthBytes, '*', { isListed: false });
    }
    const object = new SharedObject({ layout, role, ranges });
    peers.share(object);
    const node = new SwarmNode({ engine, peers, object, memory, directory, pool });
    if (role === 'gold') fillPattern(memory.bytes.subarray(0, layout.totalSize), 7);
    return node;
  }

  get segment(): string {
    return this.engine.segmentName;
  }

  digest(): Promise<string | undefined> {
    return digestGold(this.object, this.pool);
  }

  list(changes: Partial<SourceInfo> = {}): void {
    const { role, layout, memory, isComplete } = this.object;
    this.directory.put({
      segment: this.segment,
      role,
      isComplete,
      peerEndpoint: this.peers.endpoint,
      ranges: memory.ranges,
      generation: layout.generation,
      ...changes,
    });
  }

  download(changes: Partial<DownloadInput> = {}): Promise<DownloadResult> {
    return downloadObject({
      object: this.object,
      engine: this.engine,
      digester: this.pool,
      client: this.#client,
      sources: this.directory.feedFor(this.segment),
      verify: true,
      ...changes,
    });
  }

  /** Like a killed process: everything is gone, but its record is still listed. */
  async kill(): Promise<void> {
    await Promise.all([this.peers.close(), this.engine.close(), this.#client.close()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.memory[Symbol.asyncDispose]();
  }
}

/** Opens nodes and closes them all together. */
export class TestSwarm implements AsyncDisposable {
  readonly directory: TestDirectory = new TestDirectory();
  readonly pool: DigestPool = DigestPool.open({ workers: 1 });
  readonly #nodes: SwarmNode[] = [];

  async open(
    layout: ObjectLayout,
    role: 'gold' | 'replica',
    sizes?: readonly (number | MemoryRange)[],
  ): Promise<SwarmNode> {
    const node = await SwarmNode.open(this, layout, role, sizes);
    this.#nodes.push(node);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes) await node[Symbol.asyncDispose]();
    await this.pool.close();
  }
}
