import { setMaxListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortable, sleep } from '../core/abort.ts';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { ANY_LOCATION } from '../engine/nic-priority-matrix.ts';
import type { ResolvedMemory } from '../memory/resolve-memory.ts';
import { downloadObject } from '../swarm/download-object.ts';
import type { DownloadProgress, DownloadResult } from '../swarm/download-types.ts';
import type { SharedObject } from '../swarm/shared-object.ts';
import type { SourceFeed } from '../swarm/source-feed.ts';
import { giveUp } from './give-up.ts';
import { limitedPullOptions } from './limited-pull.ts';
import { LocalObject } from './local-object.ts';
import type { PayloadFeed } from './mooncake/payload-feed.ts';
import { invalidArgument } from './object-name.ts';
import type { FoundObject } from './object-reader.ts';
import { type ObjectRecord, totalSizeBytes } from './records.ts';
import { SourceWatch } from './source-watch.ts';
import type { StoreParts } from './store-parts.ts';

/**
 * How long the gold source has to write its digest root before a receiver does. By chance, so that one of many receivers is
 * first and the others see it; well below the time after which a pull gives up on missing digests.
 */
const ROOT_WAIT_MS = { min: 500, spread: 1_500 };

/** Where a replica goes. */
export interface ReplicaTarget {
  readonly memory: ResolvedMemory;
  /** Closed when nothing uses the memory any more. */
  readonly mapping?: AsyncDisposable;
  /** Makes the bytes durable, once all are there and before the replica counts as complete. */
  readonly commit?: () => Promise<void>;
  /** Hears which object the memory belongs to, before any byte comes. */
  readonly onShared?: (shared: SharedObject) => void;
}

export interface ReplicaRequest {
  readonly name: string;
  /** Unset: by what the object carries. */
  readonly verify: 'xxh64' | 'blake3' | 'none' | undefined;
  /** Stores that are about to pull it together, this one included. */
  readonly receivers: number;
  /** Finds or makes the memory, once it is known how much. */
  readonly openTarget: (found: FoundObject) => Promise<ReplicaTarget>;
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined;
  readonly signal: AbortSignal;
}

export interface OpenedReplica {
  readonly local: LocalObject;
  readonly download: DownloadResult;
}

function checkVerify(name: string, object: ObjectRecord, verify: ReplicaRequest['verify']): void {
  const { algorithm } = object.digest;
  if (verify === undefined || verify === 'none' || verify === algorithm) return;
  throw invalidArgument('verify', `"${name}" carries ${algorithm}, not ${verify}`);
}

/** @throws P2P_SIZE_MISMATCH */
export function checkTotalSize(name: string, object: ObjectRecord, memory: ResolvedMemory): void {
  const expectedBytes = totalSizeBytes(object.sizes);
  if (memory.totalBytes === expectedBytes) return;
  throw new P2PStoreError(
    ErrorCode.SizeMismatch,
    `Cannot pull "${name}": it has ${expectedBytes} bytes, the given memory ${memory.totalBytes}`,
    { name, expectedBytes, actualBytes: memory.totalBytes },
  );
}

function supersededError(name: string): P2PStoreError<'P2P_OBJECT_SUPERSEDED'> {
  const message = `Cannot pull "${name}": another object took the name meanwhile`;
  return new P2PStoreError(ErrorCode.ObjectSuperseded, message, { name });
}

/** Pulls an object under a name that is reserved, and offers it from its first piece on. */
export async function openReplica(parts: StoreParts, request: ReplicaRequest): Promise<OpenedReplica> {
  const { name, verify, signal } = request;
  await parts.sync.settle(name, { signal });
  const found = await find(parts, name, signal);
  checkVerify(name, found.object, verify);
  const opened = new AbortController();
  meetGold(parts, request, found, opened.signal);
  try {
    return await pullFound(parts, request, found);
  } finally {
    opened.abort(new Error('the pull is over'));
  }
}

async function pullFound(parts: StoreParts, request: ReplicaRequest, found: FoundObject): Promise<OpenedReplica> {
  const { name } = request;
  const { memory, mapping, commit, onShared } = await request.openTarget(found);
  const spec = { name, role: 'replica', object: found.object, memory, mapping, location: ANY_LOCATION } as const;
  const local = await LocalObject.open(parts, spec).catch(async (error: unknown) => {
    await mapping?.[Symbol.asyncDispose]();
    throw error;
  });
  parts.objects.attach(local);
  onShared?.(local.shared);
  const pull = new Pull(parts, local, request);
  try {
    const download = await pull.run(found);
    await commit?.();
    await pull.complete();
    return { local, download };
  } catch (error) {
    await giveUp(parts, local, pull.published);
    throw error;
  }
}

/** @throws P2P_OBJECT_NOT_FOUND */
async function find(parts: StoreParts, name: string, signal: AbortSignal): Promise<FoundObject> {
  const { watches, reader } = parts;
  const found = watches.find(name) ?? (await reader.find(name, { signal })) ?? (await findPayload(parts, name, signal));
  if (found !== undefined) return found;
  throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot pull "${name}": no live store has it`, { name });
}

/**
 * While the target is being made, connects to the sources that will be asked first, and hears their digests.
 *
 * @param signal - Ends what the pull has not taken over.
 */
function meetGold(
  { engine, peerClient, segmentName }: StoreParts,
  { name, verify }: ReplicaRequest,
  { object, sources }: FoundObject,
  signal: AbortSignal,
): void {
  const { generation, digest } = object;
  const options = { wantsDigests: verify !== 'none' && digest.algorithm !== 'none', signal };
  for (const { segment, source } of sources) {
    if (source.role !== 'gold' || segment === segmentName) continue;
    // The pull itself finds out why, should they fail.
    engine.prepareSegment(segment).catch(() => {});
    if (source.peerEndpoint === '') continue;
    peerClient.followEarly({ segment, ...source }, { name, generation }, options).catch(() => {});
  }
}

/** An object that only stores of Mooncake have. */
async function findPayload(
  { payloads }: StoreParts,
  name: string,
  signal: AbortSignal,
): Promise<FoundObject | undefined> {
  const found = await payloads?.find(name, { signal });
  return found === undefined ? undefined : { object: found.object, sources: [] };
}

/** Resolves when every digest of the object is known. */
async function rootKnown(shared: SharedObject, signal: AbortSignal): Promise<void> {
  if (shared.root !== undefined) return;
  let unsubscribe = (): void => {};
  try {
    await abortable(
      new Promise<void>((resolve) => {
        unsubscribe = shared.subscribe(({ kind }) => {
          if (kind === 'root') resolve();
        });
      }),
      signal,
    );
  } finally {
    unsubscribe();
  }
}

/** One pull, from the first record to the last. */
class Pull {
  /** Settles when nothing writes the first record any more. */
  published: Promise<void> = Promise.resolve();
  readonly #parts: StoreParts;
  readonly #local: LocalObject;
  readonly #request: ReplicaRequest;
  /** Fires when the pull cannot go on. */
  readonly #failed = new AbortController();

  constructor(parts: StoreParts, local: LocalObject, request: ReplicaRequest) {
    this.#parts = parts;
    this.#local = local;
    this.#request = request;
  }

  /**
   * The first bytes are asked of the sources that are known, before this store is listed and has looked at who else there is.
   *
   * @param found - The object, and the sources that were found with it.
   */
  async run(found: FoundObject): Promise<DownloadResult> {
    const { name } = this.#request;
    const { metadata, reader, segmentName } = this.#parts;
    const { generation } = this.#local.record;
    const signal = AbortSignal.any([this.#request.signal, this.#failed.signal]);
    setMaxListeners(0, signal); // each piece in flight listens
    signal.throwIfAborted();
    const fail = (error: unknown): void => this.#failed.abort(error);
    this.published = nextTurn().then(() => this.#publish(found, signal));
    const onSuperseded = (): void => fail(supersededError(name));
    const about = { name, generation, ownSegment: segmentName, found };
    const sources = new SourceWatch({ metadata, reader, ...about, onSuperseded, signal });
    this.published.catch(fail);
    sources.opened.catch(fail);
    let isDone = false;
    try {
      const download = await this.#downloadFrom(sources, signal);
      await abortable(Promise.all([this.published, sources.opened]), signal);
      isDone = true;
      return download;
    } finally {
      if (isDone) this.#local.afterwards(() => void this.#closeLater(sources));
      else await sources.close();
    }
  }

  async #closeLater(sources: SourceWatch): Promise<void> {
    try {
      await sources.close();
    } catch (error) {
      this.#parts.logger.warn({ name: this.#local.name, error }, 'watch of the sources not closed cleanly');
    }
  }

  async #downloadFrom(sources: SourceWatch, signal: AbortSignal): Promise<DownloadResult> {
    await using feed = await this.#openFeed(sources, signal);
    const ended = new AbortController();
    const completing = this.#completeRecord(sources, ended.signal);
    try {
      const download = await this.#download(sources, feed ?? sources, signal);
      await feed?.confirm(download.sources);
      return download;
    } finally {
      ended.abort();
      await completing;
    }
  }

  /** Of an object that came from Mooncake its stores are sources too. */
  async #openFeed(ours: SourceWatch, signal: AbortSignal): Promise<PayloadFeed | undefined> {
    const { payloads, logger } = this.#parts;
    const { name, record: object } = this.#local;
    if (payloads === undefined || object.origin !== 'mooncake') return undefined;
    await abortable(ours.opened, signal);
    const { PayloadFeed } = await import('./mooncake/payload-feed.ts');
    return await PayloadFeed.open({ name, object, ours, payloads, signal, logger });
  }

  /** Lists this store as a source. The first to pull an object of Mooncake's writes the object's record as well. */
  async #publish({ records }: FoundObject, signal: AbortSignal): Promise<void> {
    const { directory } = this.#parts;
    const { name, record: object, source } = this.#local;
    if (object.origin === undefined) {
      await directory.putSource({ name, object, source }, { signal, unchanged: records?.unchanged });
    } else {
      const outcome = await directory.relist({ name, object, source }, { signal });
      if (outcome === 'superseded') throw supersededError(name);
    }
    this.#local.isListed = true;
  }

  #download(sources: SourceWatch, feed: SourceFeed, signal: AbortSignal): Promise<DownloadResult> {
    const { verify, onProgress, receivers } = this.#request;
    const { origin } = this.#local.record;
    const { engine, peerClient, activity, logger } = this.#parts;
    const { pieceSizeBytes } = this.#local.shared.layout;
    return downloadObject({
      object: this.#local.shared,
      digester: this.#local.digester,
      engine,
      client: peerClient,
      sources: feed,
      verify: verify !== 'none',
      digestRoot: () => sources.digestRoot,
      signal,
      later: (work) => this.#local.afterwards(work),
      activity,
      onProgress: onProgress && ((progress) => onProgress({ ...progress, ...(origin && { origin }) })),
      logger,
      options: {
        scheduler: {
          receiversExpected: receivers,
          ...limitedPullOptions(engine.maxDownloadBytesPerSecond, pieceSizeBytes),
        },
      },
    });
  }

  /**
   * Writes the digest root into the object record when the gold source, which told all digests, does not: it may have died
   * just before. Without the root those who come later could believe no replica.
   */
  async #completeRecord(sources: SourceWatch, ended: AbortSignal): Promise<void> {
    const { name, shared } = this.#local;
    try {
      await rootKnown(shared, ended);
      await sleep(ROOT_WAIT_MS.min + Math.random() * ROOT_WAIT_MS.spread, ended);
      if (sources.digestRoot !== undefined) return;
      this.#local.completeRecord();
      await abortable(this.#parts.sync.put(this.#local), ended);
    } catch (error) {
      if (!ended.aborted) this.#parts.logger.warn({ name, error }, 'digest root not published yet');
    }
  }

  /**
   * The bytes are all there, which no metadata store can take back: the records say so soon. Those of an object of Mooncake's say so
   * before anybody can pull from it, as nobody has digests of it, and others have only its word.
   */
  async complete(): Promise<void> {
    const local = this.#local;
    local.complete();
    if (local.record.origin !== undefined) await abortable(this.#listComplete(), this.#request.signal);
    else local.afterwards(() => void this.#listComplete());
  }

  async #listComplete(): Promise<void> {
    const { mirror, sync, logger } = this.#parts;
    const local = this.#local;
    if (local.closing.aborted) return;
    mirror?.add(local);
    try {
      await sync.put(local);
    } catch (error) {
      logger.warn({ name: local.name, error }, 'replica is complete, but not listed as such yet');
    }
  }
}
