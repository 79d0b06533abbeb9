import { setMaxListeners } from 'node:events';
import { abortable } from '../core/abort.ts';
import { Gate } from '../core/gate.ts';
import type { NicPriorityMatrix } from '../engine/nic-priority-matrix.ts';
import { mapFile as openFileMapping } from '../memory/map-file.ts';
import { createMappedFile } from '../memory/mapped-file.ts';
import { allocate as allocateRegion, type MemoryRegion } from '../memory/memory-region.ts';
import { type MemoryInput, resolveMemory } from '../memory/resolve-memory.ts';
import {
  checkBufferCount,
  checkIntervalMs,
  checkMaxShardSize,
  checkPieceOptions,
  checkVerifyOption,
  DEFAULT_SHARD_SIZE_BYTES,
  type GetReplicaOptions,
  type RegisterFileOptions,
  type RegisterOptions,
  type StatusWatchCallOptions,
  type StoreCallOptions,
} from './call-options.ts';
import { Gatherings } from './gatherings.ts';
import { inLanes } from './lanes.ts';
import { listObjects } from './list-objects.ts';
import type { LocalObject } from './local-object.ts';
import { checkFolderName, checkNamePrefix, checkObjectName, invalidArgument } from './object-name.ts';
import { type ObjectEvent, watchObjects } from './object-watch.ts';
import { type GoldRequest, openGold, planObject } from './open-gold.ts';
import { checkTotalSize, openReplica, type ReplicaRequest } from './open-replica.ts';
import type { PayloadInfo } from './payload-info.ts';
import { totalSizeBytes } from './records.ts';
import type { FolderContent, FolderReplicaResult, ReplicaResult } from './results.ts';
import { type ObjectStatus, readSources, readStatus, type SourceListing } from './status.ts';
import { watchStatus } from './status-watch.ts';
import { readStoreMetrics } from './store-metrics.ts';
import { openStoreParts, type P2PStoreOptions, type StoreParts } from './store-parts.ts';

/** Objects taken back at once by `close()`. */
const CLOSE_LANES = 32;

/**
 * A store instance: publishes memory under names, pulls what others published, and serves on what it has.
 *
 * Memory that is registered or pulled into must stay alive and unchanged until `unregister` or `deleteReplica` has
 * resolved. Every method rejects with P2P_CLOSED after `close()`, with P2P_METADATA_UNAVAILABLE when the metadata store
 * does not answer, and with `signal.reason` after an abort.
 */
export class P2PStore implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #closeParts: () => Promise<void>;
  readonly #gate = new Gate('store');
  readonly #gatherings = new Gatherings();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  private constructor(parts: StoreParts, closeParts: () => Promise<void>) {
    this.#parts = parts;
    this.#closeParts = closeParts;
    parts.leaseKeeper.onRegained(() => parts.sync.putAll(parts.objects.listed()));
    parts.engine.onMemoryFault((address) => this.#markDamaged(address));
  }

  /**
   * Opens a store: starts its threads, listens for peers and lists its segment.
   *
   * @param metadataUri - `etcd://h1:2379,h2:2379` (a bare `host:port` means etcd), `local:` or `local:/directory` (embedded, one
   * machine), `memory:` (one process).
   * @param localSegmentName - Unique in the cluster, 1 to 240 bytes; `host:port` by custom.
   * @param nicPriorityMatrix - Memory location -> [preferred network cards, other cards]. None: all cards.
   * @throws P2P_INVALID_ARGUMENT, P2P_METADATA_UNAVAILABLE, P2P_METADATA_DENIED
   * @throws P2P_SEGMENT_IN_USE A live store goes by that name.
   */
  static async open(
    metadataUri: string,
    localSegmentName: string,
    nicPriorityMatrix?: string | NicPriorityMatrix,
    options: P2PStoreOptions = {},
  ): Promise<P2PStore> {
    const { parts, close } = await openStoreParts(metadataUri, localSegmentName, nicPriorityMatrix, options);
    return new P2PStore(parts, close);
  }

  get localSegmentName(): string {
    return this.#parts.segmentName;
  }

  /**
   * Publishes memory under a name; touches none of it. Digests are computed behind the call.
   *
   * @param name - 1 to 512 bytes of UTF-8 without control characters.
   * @param addrList - Virtual addresses, views, buffers or memory regions, in the order of the object's bytes.
   * @param sizeList - Bytes of each; none at all make an object without bytes.
   * @param maxShardSize - Bytes, a power of two up to 4 GiB; 64 MiB is good.
   * @param location - A key of the NIC priority matrix, or `*`; without a matrix also `cpu:N`.
   * @throws P2P_INVALID_ARGUMENT, P2P_ADDRESS_OVERLAPPED
   * @throws P2P_PAYLOAD_OPENED This store uses the name already.
   * @throws P2P_OBJECT_EXISTS The name is live in another store, and `force` is not set.
   */
  async register(
    name: string,
    addrList: readonly MemoryInput[],
    sizeList: readonly number[],
    maxShardSize: number,
    location: string,
    options: RegisterOptions = {},
  ): Promise<void> {
    const settings = { maxShardSize, location, ...options };
    await this.#registerMemory(name, settings, () => {
      checkBufferCount(addrList);
      return Promise.resolve({ memory: resolveMemory(addrList, sizeList, { writable: false }) });
    });
  }

  /**
   * Publishes a file through a mapping, without copying it. The mapping lives until `unregister`.
   *
   * Do not truncate or change the file meanwhile: receivers then get an error instead of its bytes.
   *
   * @throws P2P_FILE_FAILED The file cannot be mapped. Else as {@link register}.
   */
  async registerFile(name: string, path: string, options: RegisterFileOptions = {}): Promise<void> {
    await this.#registerMemory(name, options, async () => {
      const mapping = await openFileMapping(path);
      return { memory: resolveMemory([mapping], [mapping.sizeBytes], { writable: false }), mapping };
    });
  }

  /**
   * Publishes all files of a folder as one object: large files through mappings, small ones from a copy in memory. Links
   * are followed; empty folders are kept, rights and times are not.
   *
   * @param name - Ends in `/`.
   * @returns What the object holds.
   * @throws P2P_FILE_FAILED Something in the folder cannot be read. Else as {@link register}.
   */
  async registerFolder(name: string, path: string, options: RegisterFileOptions = {}): Promise<FolderContent> {
    checkFolderName(name);
    const { verify = 'xxh64' } = options;
    const opened = await this.#registerMemory(name, options, async (signal) => {
      const { openFolder } = await import('./folder/open-folder.ts');
      return await openFolder(path, verify, signal);
    });
    return { files: opened.folder.files, totalSize: opened.memory.totalBytes };
  }

  /**
   * Takes back what `register` published. Replicas of others stay, and keep the name alive.
   *
   * @returns Once no peer reads the memory any more and the records are gone.
   * @throws P2P_PAYLOAD_NOT_OPENED This store has not registered the name.
   * @throws P2P_METADATA_UNAVAILABLE The memory is free all the same; the records go as soon as possible.
   */
  unregister(name: string, options: StoreCallOptions = {}): Promise<void> {
    return this.#takeBack(name, 'gold', options);
  }

  /** Lists the live objects whose name starts with a prefix, by name; the empty prefix means all. Those of Mooncake's stores too. */
  list(namePrefix: string, { signal }: StoreCallOptions = {}): Promise<PayloadInfo[]> {
    return this.#run(signal, async (either) => {
      checkNamePrefix(namePrefix);
      return await abortable(listObjects(this.#parts, namePrefix, either), either);
    });
  }

  /**
   * Pulls an object into memory of the caller, from all stores that have some of it, and serves it on from the first
   * piece. After the promise has settled nothing writes to the memory, whatever the outcome.
   *
   * @param addrList - As for {@link register}, writable. Any split of the same total will do.
   * @throws P2P_OBJECT_NOT_FOUND, P2P_SIZE_MISMATCH, P2P_INVALID_ARGUMENT, P2P_ADDRESS_OVERLAPPED Nothing was touched.
   * @throws P2P_PAYLOAD_OPENED This store registered the name, or has pulled or is pulling it.
   * @throws P2P_OBJECT_SUPERSEDED Somebody registered the name anew meanwhile.
   * @throws P2P_NO_SOURCE Nobody has the missing bytes any more.
   */
  getReplica(
    name: string,
    addrList: readonly MemoryInput[],
    sizeList: readonly number[],
    options: GetReplicaOptions = {},
  ): Promise<ReplicaResult> {
    return this.#pull(name, options, () => {
      checkBufferCount(addrList);
      const memory = resolveMemory(addrList, sizeList, { writable: true });
      return ({ object }) => {
        checkTotalSize(name, object, memory);
        return Promise.resolve({ memory });
      };
    });
  }

  /**
   * Pulls an object into a file: into its mapping, without copying, then synced and put in place as a whole. The file is
   * served on until `deleteReplica`, which leaves it where it is.
   *
   * @param path - A file that is there is replaced when all bytes have come, and kept when they do not.
   * @throws P2P_DISK_FULL, P2P_FILE_FAILED Else as {@link getReplica}.
   */
  getReplicaToFile(name: string, path: string, options: GetReplicaOptions = {}): Promise<ReplicaResult> {
    return this.#pull(name, options, (signal) => async ({ object }) => {
      const file = await createMappedFile(path, totalSizeBytes(object.sizes), { signal });
      const memory = resolveMemory([file.region], [file.region.sizeBytes], { writable: true });
      return { memory, mapping: file, commit: () => file.commit() };
    });
  }

  /**
   * Pulls what {@link registerFolder} published into a folder, in one transfer. All files are put in place together once
   * all bytes have come: files of the same paths are replaced, others stay. It is served on until `deleteReplica`, which
   * leaves the files where they are.
   *
   * @param path - Made when it is not there.
   * @throws P2P_INVALID_ARGUMENT The object is no folder.
   * @throws P2P_RECORD_INVALID A path in the object would leave the folder. Else as {@link getReplicaToFile}.
   */
  async getReplicaToFolder(name: string, path: string, options: GetReplicaOptions = {}): Promise<FolderReplicaResult> {
    checkFolderName(name);
    let files = 0;
    const result = await this.#pull(name, options, (signal) => async (found) => {
      const { FolderTarget } = await import('./folder/folder-target.ts');
      const target = await FolderTarget.open(this.#parts, { name, path, found, signal });
      ({ files } = target);
      return {
        memory: target.memory,
        mapping: target,
        onShared: (shared) => target.follow(shared),
        commit: () => target.commit(signal),
      };
    });
    return { ...result, files };
  }

  /**
   * Stops to serve a replica.
   *
   * @returns, throws As {@link unregister}.
   */
  deleteReplica(name: string, options: StoreCallOptions = {}): Promise<void> {
    return this.#takeBack(name, 'replica', options);
  }

  /** Lists who serves an object, as the metadata store knows it. Empty when nobody does. */
  sources(name: string, { signal }: StoreCallOptions = {}): Promise<SourceListing[]> {
    return this.#run(signal, (either) => {
      checkObjectName(name);
      return abortable(readSources(this.#parts, name, either), either);
    });
  }

  /**
   * Asks every source of an object how far it is.
   *
   * @throws P2P_OBJECT_NOT_FOUND
   */
  status(name: string, { signal }: StoreCallOptions = {}): Promise<ObjectStatus> {
    return this.#run(signal, (either) => {
      checkObjectName(name);
      return abortable(readStatus(this.#parts, name, either), either);
    });
  }

  /**
   * Asks every source of an object how far it is, again and again, until the loop is left, the signal fires or the store
   * closes. Sources appear and vanish as they come and go; when all have gone there are none.
   *
   * @param options.intervalMs - From one status to the next, 100 to 3,600,000 ms; it takes longer when sources are slow to
   * answer. Default 1,000.
   * @throws P2P_OBJECT_NOT_FOUND At the start.
   */
  watchStatus(
    name: string,
    { signal, intervalMs = 1_000 }: StatusWatchCallOptions = {},
  ): AsyncGenerator<ObjectStatus, void> {
    checkObjectName(name);
    checkIntervalMs(intervalMs);
    if (!this.#gate.isOpen) throw this.#gate.closedError();
    return watchStatus(this.#parts, name, { intervalMs, signal, closing: this.#closing.signal });
  }

  /**
   * Tells which objects under a prefix are there and which come and go, until the loop is left, the signal fires or the
   * store closes. A slow reader gets the latest state of each name, not every step.
   *
   * @example Wait for a checkpoint
   * ```ts
   * import type { P2PStore } from 'p2p-store';
   *
   * export async function waitForCheckpoint(store: P2PStore): Promise<void> {
   *   for await (const event of store.watch('checkpoints/')) {
   *     if (event.kind === 'added') return;
   *   }
   * }
   * ```
   */
  watch(namePrefix: string, { signal }: StoreCallOptions = {}): AsyncGenerator<ObjectEvent, void> {
    checkNamePrefix(namePrefix);
    if (!this.#gate.isOpen) throw this.#gate.closedError();
    return watchObjects(this.#parts, namePrefix, { signal, closing: this.#closing.signal });
  }

  /**
   * Counters and gauges of this store and its transfer engine as text for Prometheus, format 0.0.4; `docs/metrics.md` lists
   * them. Nothing is kept for it: who never asks pays nothing.
   */
  metrics(): Promise<string> {
    return this.#run(undefined, () => readStoreMetrics(this.#parts));
  }

  /**
   * Makes this store known to others that wait for the same object, and connects to them, so that all can pull it at once when
   * it comes: their first pieces travel some tenths of a second sooner. The wait itself is {@link watch}'s.
   *
   * @returns Ends that when it is disposed of; best when the pull is over.
   * @throws P2P_PAYLOAD_OPENED This store has gathered for it already.
   *
   * @example Pull a checkpoint with all others, the moment it is there
   * ```ts
   * import type { P2PStore } from 'p2p-store';
   *
   * export async function pullWhenThere(store: P2PStore, name: string, path: string): Promise<void> {
   *   await using _gathering = await store.gather(name);
   *   for await (const { kind, object } of store.watch(name)) {
   *     if (kind === 'removed' || object.name !== name) continue;
   *     await store.getReplicaToFile(name, path); // while the watch is open: then it need not read what the watch told
   *     return;
   *   }
   * }
   * ```
   */
  gather(name: string, { signal }: StoreCallOptions = {}): Promise<AsyncDisposable> {
    return this.#run(signal, (either) => {
      checkObjectName(name);
      return this.#gatherings.open(this.#parts, name, either);
    });
  }

  /** Allocates memory outside the JavaScript heap, of any size. The caller closes it. */
  allocate(sizeBytes: number): MemoryRegion {
    return allocateRegion(sizeBytes);
  }

  /** Maps a file for reading. The caller closes it, after `unregister`. */
  mapFile(path: string): Promise<MemoryRegion> {
    return openFileMapping(path);
  }

  /** Ends running calls with P2P_CLOSED, takes everything back and leaves nothing behind. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #run<T>(signal: AbortSignal | undefined, work: (either: AbortSignal) => Promise<T>): Promise<T> {
    return this.#gate.run(async () => {
      signal?.throwIfAborted();
      const either = AbortSignal.any(signal === undefined ? [this.#closing.signal] : [signal, this.#closing.signal]);
      setMaxListeners(0, either); // one for each of many waits at once is no leak
      return await work(either);
    });
  }

  #registerMemory<T extends Pick<GoldRequest, 'memory' | 'mapping' | 'folder'>>(
    name: string,
    options: RegisterFileOptions,
    openMemory: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { maxShardSize = DEFAULT_SHARD_SIZE_BYTES, location = '*', verify = 'xxh64', force = false } = options;
    return this.#run(options.signal, async (signal) => {
      checkObjectName(name);
      checkMaxShardSize(maxShardSize);
      checkPieceOptions(options, maxShardSize);
      checkVerifyOption(verify);
      if (!this.#parts.engine.hasLocation(location)) {
        throw invalidArgument('location', `"${String(location)}" is no key of the NIC priority matrix`);
      }
      return await this.#reserved(name, 'gold', async () => {
        const opened = await openMemory(signal);
        const { pieceSize: pieceSizeBytes, receivers } = options;
        const { uplinkBytesPerSecond } = this.#parts.engine;
        const cut = { maxShardSizeBytes: maxShardSize, pieceSizeBytes, receivers, uplinkBytesPerSecond };
        const settings = { ...cut, algorithm: verify, location, force, signal };
        const local = await this.#openGold({ name, ...opened, ...settings });
        return [local, opened];
      });
    });
  }

  async #openGold(request: GoldRequest): Promise<LocalObject> {
    try {
      const object = planObject(request);
      await this.#parts.sync.settle(request.name, { signal: request.signal });
      return await openGold(this.#parts, object, request);
    } catch (error) {
      await request.mapping?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  #pull(
    name: string,
    { verify, onProgress, signal }: GetReplicaOptions,
    prepare: (signal: AbortSignal) => ReplicaRequest['openTarget'],
  ): Promise<ReplicaResult> {
    return this.#run(signal, async (either) => {
      checkObjectName(name);
      checkVerifyOption(verify);
      const openTarget = prepare(either);
      return await this.#reserved(name, 'replica', async () => {
        const receivers = 1 + this.#gatherings.othersOf(name);
        const request = { name, verify, receivers, openTarget, onProgress, signal: either };
        const { local, download } = await openReplica(this.#parts, request);
        const { origin } = local.record;
        return [local, { name, ...download, ...(origin && { origin }) }];
      });
    });
  }

  /** Keeps a name for the object that `open` makes, and frees it when that fails. */
  async #reserved<T>(name: string, role: LocalObject['role'], open: () => Promise<[LocalObject, T]>): Promise<T> {
    const { objects } = this.#parts;
    objects.reserve(name, role);
    try {
      const [local, result] = await open();
      objects.settle(name, local);
      return result;
    } catch (error) {
      objects.settle(name, undefined);
      throw error;
    }
  }

  #takeBack(name: string, role: LocalObject['role'], { signal }: StoreCallOptions): Promise<void> {
    return this.#run(signal, async (either) => {
      checkObjectName(name);
      const local = this.#parts.objects.beginClose(name, role);
      const closed = this.#gate.run(() => this.#closeObject(local)); // goes on after an abort, and `close()` waits for it
      await abortable(closed, either);
    });
  }

  /** Memory first: whatever the metadata store does, it is free once this has settled. */
  async #closeObject(local: LocalObject): Promise<void> {
    try {
      await local.close();
      await this.#parts.sync.remove(local);
      await this.#parts.mirror?.settled(local.name);
    } finally {
      this.#parts.objects.endClose(local.name);
    }
  }

  /** The engine served memory that is gone: its receivers must hear it from us, not guess it from a broken connection. */
  #markDamaged(address: number): void {
    for (const local of this.#parts.objects.listed()) {
      const isHit = local.shared.memory.ranges.some(
        (range) => address >= range.address && address < range.address + range.lengthBytes,
      );
      if (isHit) local.shared.markDamaged('its memory is gone: the file was truncated, or the pages unmapped');
    }
  }

  async #close(): Promise<void> {
    const { objects, sync, logger } = this.#parts;
    this.#closing.abort(this.#gate.closedError());
    await this.#gate.close();
    await this.#gatherings.close();
    let isReachable = true;
    await inLanes(objects.open(), CLOSE_LANES, async (local) => {
      try {
        await local.close();
        if (isReachable) await sync.remove(local);
      } catch (error) {
        isReachable = false; // the lease takes the rest; waiting for each would take minutes
        logger.warn({ name: local.name, error }, 'records are left to the end of the lease');
      }
    });
    await sync.close();
    await this.#closeParts();
  }
}

/** {@link P2PStore.open} by the name that the original gives it. */
export function newP2PStore(
  metadataUri: string,
  localSegmentName: string,
  nicPriorityMatrix?: string | NicPriorityMatrix,
  options: P2PStoreOptions = {},
): Promise<P2PStore> {
  return P2PStore.open(metadataUri, localSegmentName, nicPriorityMatrix, options);
}
