/**
 * A model of Mooncake's P2P Store (Go, commit 3b5a5941): its records and its algorithm over a real etcd, written from a description
 * of its source, because that store cannot be installed here. What it does wrong is modelled too, where others can notice. Bytes
 * move by an engine of ours whose descriptor is written here, as Mooncake's engine writes it.
 */
import { decodeSegment, descriptorKey, locationKey } from '../../src/engine/segment-descriptor.ts';
import { TransferEngine } from '../../src/engine/transfer-engine.ts';
import type { Condition, MetadataStore } from '../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../src/metadata/open-metadata-store.ts';
import { addressOf } from '../../src/native/address.ts';

interface Location {
  segment_name: string;
  offset: number;
}

interface Shard {
  size: number;
  gold: Location[] | null;
  replica_list: Location[] | null;
}

export interface ModelPayload {
  name: string;
  size: number;
  size_list: number[] | null;
  max_shard_size: number;
  shards: Shard[] | null;
}

interface Found {
  readonly payload: ModelPayload;
  readonly revision: bigint;
}

interface Opened {
  readonly buffers: readonly Buffer[];
  readonly isGold: boolean;
}

const PREFIX = 'mooncake/checkpoint/';
/** The real one tries for ever. */
const UPDATES_MAX = 200;

export interface ModelOptions {
  /** 1: as engines before v0.3.12 describe themselves. Default 2. */
  readonly framing?: 1 | 2;
}

export class MooncakeStoreModel implements AsyncDisposable {
  readonly segment: string;
  readonly #metadata: MetadataStore;
  readonly #engine: TransferEngine;
  readonly #framing: 1 | 2;
  readonly #catalog = new Map<string, Opened>();
  readonly #registered = new Map<number, { readonly length: number; users: number }>();
  #isEnded = false;

  private constructor(parts: {
    readonly segment: string;
    readonly metadata: MetadataStore;
    readonly engine: TransferEngine;
    readonly framing: 1 | 2;
  }) {
    this.segment = parts.segment;
    this.#metadata = parts.metadata;
    this.#engine = parts.engine;
    this.#framing = parts.framing;
  }

  static async open(etcdUri: string, segment: string, { framing = 2 }: ModelOptions = {}): Promise<MooncakeStoreModel> {
    const metadata = await openMetadataStore(etcdUri);
    const engine = await TransferEngine.open({
      metadata: `memory:model-${process.pid}-${segment.replace(/[^\w.-]/g, '-')}`,
      segmentName: segment,
      host: '127.0.0.1',
      ioWorkers: 1,
    });
    const model = new MooncakeStoreModel({ segment, metadata, engine, framing });
    await model.#describe();
    return model;
  }

  /** @throws Error `ErrPayloadOpened`, `key already exists` */
  async register(
    name: string,
    buffers: readonly Buffer[],
    maxShardSize: number,
    { force = false }: { readonly force?: boolean } = {},
  ): Promise<void> {
    if (this.#catalog.has(name)) throw new Error('ErrPayloadOpened');
    await this.#addMemory(buffers);
    const shards: Shard[] = [];
    for (const buffer of buffers) {
      for (let at = 0; at < buffer.length; at += maxShardSize) {
        const gold = [{ segment_name: this.segment, offset: addressOf(buffer) + at }];
        shards.push({ size: Math.min(maxShardSize, buffer.length - at), gold, replica_list: null });
      }
    }
    const size_list = buffers.map(({ length }) => length);
    const size = size_list.reduce((sum, each) => sum + each, 0);
    const payload = { name, size, size_list, max_shard_size: maxShardSize, shards };
    const conditions: Condition[] = force ? [] : [{ kind: 'absent', key: PREFIX + name }];
    if (!(await this.#commit(conditions, payload))) {
      await this.#removeMemory(buffers);
      throw new Error('key already exists');
    }
    this.#catalog.set(name, { buffers, isGold: true });
  }

  /** Takes away the gold of everybody, as the real one does. @throws Error `ErrPayloadNotOpened`, `ErrPayloadNotFound` */
  unregister(name: string): Promise<void> {
    return this.#takeBack(name, (shard) => {
      shard.gold = null;
    });
  }

  /** @throws Error `ErrPayloadNotOpened`, `ErrPayloadNotFound` */
  deleteReplica(name: string): Promise<void> {
    return this.#takeBack(name, (shard) => {
      const others = (shard.replica_list ?? []).filter(({ segment_name }) => segment_name !== this.segment);
      shard.replica_list = others.length === 0 ? null : others;
    });
  }

  /** One record that does not read fails it all. */
  async list(prefix: string): Promise<ModelPayload[]> {
    const { entries } = await this.#metadata.list(PREFIX + prefix);
    return entries.map(({ value }) => parsePayload(value));
  }

  /** @throws Error `ErrPayloadOpened`, `ErrPayloadNotFound`, `ErrTooManyRetries`, `ErrTransferEngine` */
  async getReplica(name: string, buffers: readonly Buffer[]): Promise<void> {
    if (this.#catalog.has(name)) throw new Error('ErrPayloadOpened');
    const found = await this.find(name);
    if (found === undefined) throw new Error('ErrPayloadNotFound');
    await this.#addMemory(buffers);
    const { payload } = found;
    for (;;) {
      await this.#copy(payload, buffers);
      const now = await this.find(name);
      if (now === undefined) throw new Error('panic: nil payload');
      if (now.revision === found.revision || isSubset(payload, now.payload)) break;
      throw new Error('model: the real one copies again, for ever');
    }
    await this.#publishReplica(name, found, buffers);
    this.#catalog.set(name, { buffers, isGold: false });
  }

  async find(name: string): Promise<Found | undefined> {
    const entry = await this.#metadata.get(PREFIX + name);
    return entry && { payload: parsePayload(entry.value), revision: entry.revision };
  }

  /** Ends in good order: the engine takes back its descriptor, payload records stay. */
  async close(): Promise<void> {
    if (this.#isEnded) return;
    await this.#metadata.commit([], [{ kind: 'delete', key: descriptorKey(this.segment) }]);
    await this.#metadata.commit([], [{ kind: 'delete', key: locationKey(this.segment) }]);
    await this.crash();
  }

  /** Ends as a killed process: nothing answers any more, everything stays listed. */
  async crash(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    await this.#engine.close();
    await this.#metadata.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #takeBack(name: string, change: (shard: Shard) => void): Promise<void> {
    const opened = this.#catalog.get(name);
    if (opened === undefined) throw new Error('ErrPayloadNotOpened');
    for (let tries = 0; tries < UPDATES_MAX; tries++) {
      const found = await this.find(name);
      if (found === undefined) throw new Error('ErrPayloadNotFound');
      for (const shard of found.payload.shards ?? []) change(shard);
      if (!(await this.#update(found))) continue;
      this.#catalog.delete(name);
      await this.#removeMemory(opened.buffers);
      return;
    }
    throw new Error('model: too many updates failed');
  }

  /** @returns Whether the record was still as it was read. Without any location it is deleted. */
  #update({ payload, revision }: Found): Promise<boolean> {
    const isEmpty = (payload.shards ?? []).every(
      ({ gold, replica_list }) => (gold ?? []).length === 0 && (replica_list ?? []).length === 0,
    );
    return this.#commit([{ kind: 'unchanged', key: PREFIX + payload.name, revision }], payload, isEmpty);
  }

  async #commit(conditions: readonly Condition[], payload: ModelPayload, isDelete = false): Promise<boolean> {
    const key = PREFIX + payload.name;
    const value = Buffer.from(JSON.stringify(payload));
    const write = isDelete ? ({ kind: 'delete', key } as const) : ({ kind: 'put', key, value } as const);
    return (await this.#metadata.commit(conditions, [write])).succeeded;
  }

  async #copy({ shards }: ModelPayload, buffers: readonly Buffer[]): Promise<void> {
    let buffer = 0;
    let at = 0;
    const transfers: Promise<void>[] = [];
    for (const shard of shards ?? []) {
      while (at >= (buffers[buffer]?.length ?? 0)) {
        if (buffers[buffer] === undefined) throw new Error('panic: index out of range');
        buffer += 1;
        at = 0;
      }
      transfers.push(this.#transferShard(shard, addressOf(buffers[buffer] ?? Buffer.alloc(0)) + at));
      at += shard.size;
    }
    const results = await Promise.allSettled(transfers);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #transferShard(shard: Shard, localAddress: number): Promise<void> {
    const replicas = shard.replica_list ?? [];
    const all = [...replicas, ...(shard.gold ?? [])];
    const attempts = Math.max(3, all.length);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const first = replicas.length > 0 ? replicas : (shard.gold ?? []);
      const place = attempt === 0 ? first[Math.floor(Math.random() * first.length)] : all[attempt - 1];
      if (place === undefined) break;
      const segment = await this.#openSegment(place.segment_name);
      const batch = this.#engine.submitTransfer([
        { opcode: 'read', segment, localAddress, remoteAddress: place.offset, lengthBytes: shard.size },
      ]);
      await batch.done.catch(() => {});
      if (batch.tasks[0]?.status === 'COMPLETED') return;
    }
    throw new Error('ErrTooManyRetries');
  }

  /** Failing here ends the whole call, whoever else has the shard. */
  async #openSegment(segment: string): ReturnType<TransferEngine['openSegment']> {
    const descriptor = await this.#metadata.get(descriptorKey(segment));
    const location = await this.#metadata.get(locationKey(segment));
    if (descriptor === undefined || location === undefined) throw new Error('ErrTransferEngine');
    return decodeSegment(segment, descriptor.value, location.value);
  }

  async #publishReplica(name: string, first: Found, buffers: readonly Buffer[]): Promise<void> {
    let found: Found | undefined = first;
    for (let tries = 0; tries < UPDATES_MAX; tries++) {
      if (found === undefined) throw new Error('panic: nil payload');
      let shard = 0;
      for (const buffer of buffers) {
        for (let at = 0; at < buffer.length; at += found.payload.max_shard_size) {
          const place = found.payload.shards?.[shard];
          if (place === undefined) throw new Error('panic: index out of range');
          place.replica_list = [
            ...(place.replica_list ?? []),
            { segment_name: this.segment, offset: addressOf(buffer) + at },
          ];
          shard += 1;
        }
      }
      if (await this.#update(found)) return;
      found = await this.find(name);
    }
    throw new Error('model: too many updates failed');
  }

  async #addMemory(buffers: readonly Buffer[]): Promise<void> {
    for (const buffer of buffers) {
      const address = addressOf(buffer);
      const known = this.#registered.get(address);
      if (known === undefined) {
        await this.#engine.registerLocalMemory(address, buffer.length);
        this.#registered.set(address, { length: buffer.length, users: 1 });
      } else known.users += 1;
    }
    await this.#describe();
  }

  async #removeMemory(buffers: readonly Buffer[]): Promise<void> {
    for (const buffer of buffers) {
      const address = addressOf(buffer);
      const known = this.#registered.get(address);
      if (known === undefined) continue;
      known.users -= 1;
      if (known.users > 0) continue;
      this.#registered.delete(address);
      await this.#engine.unregisterLocalMemory(address);
    }
    await this.#describe();
  }

  /** Both records of its engine, without a lease. */
  async #describe(): Promise<void> {
    const buffers = Array.from(this.#registered, ([addr, { length }]) => ({ addr, length, name: this.segment }));
    const descriptor = {
      buffers,
      name: this.segment,
      protocol: 'tcp',
      tcp_data_port: this.#engine.dataPort,
      ...(this.#framing === 2 && { tcp_proto_version: 2 }),
      timestamp: '2026-11-22 16:27:09.190695',
    };
    const put = (key: string, json: object) =>
      ({ kind: 'put', key, value: Buffer.from(`${JSON.stringify(json)}\n`) }) as const;
    await this.#metadata.commit(
      [],
      [
        put(descriptorKey(this.segment), descriptor),
        put(locationKey(this.segment), { ip_or_host_name: '127.0.0.1', rpc_port: 15_159 }),
      ],
    );
  }
}

function parsePayload(value: Uint8Array): ModelPayload {
  return JSON.parse(Buffer.from(value).toString()) as ModelPayload;
}

/** Whether every location of the one is still in the other. */
function isSubset(before: ModelPayload, after: ModelPayload): boolean {
  return (before.shards ?? []).every((shard, index) => {
    const now = after.shards?.[index];
    const has = (list: Location[] | null | undefined, { segment_name, offset }: Location): boolean =>
      (list ?? []).some((place) => place.segment_name === segment_name && place.offset === offset);
    return (
      (shard.gold ?? []).every((place) => has(now?.gold, place)) &&
      (shard.replica_list ?? []).every((place) => has(now?.replica_list, place))
    );
  });
}
