/** Fetches the manifest of a folder, before there is any memory to pull the folder into. */
import { sleep } from '../../core/abort.ts';
import { backoffMs } from '../../core/backoff.ts';
import { ErrorCode, isP2PStoreError, P2PStoreError } from '../../core/errors.ts';
import { digestBytes } from '../../digest/digest-bytes.ts';
import { ANY_LOCATION } from '../../engine/nic-priority-matrix.ts';
import { allocate, type MemoryRegion } from '../../memory/memory-region.ts';
import { RangeIndex } from '../../swarm/range-index.ts';
import type { FoundObject, ListedSource } from '../object-reader.ts';
import { countPieces, digestOfFolder, type FolderRecord, type ObjectRecord } from '../records.ts';
import { sourceInfo } from '../source-watch.ts';
import type { StoreParts } from '../store-parts.ts';

export interface ManifestRequest {
  readonly name: string;
  readonly found: FoundObject;
  readonly folder: FolderRecord;
  readonly signal: AbortSignal;
}

type Parts = Pick<StoreParts, 'engine' | 'reader'>;

/** How long sources are asked that do not have it, or do not answer: each of those costs seconds. */
const GIVE_UP_MS = 30_000;
/** Of the source list, when all on it failed: who is partial now may have it in a moment. */
const RETRY = { firstMs: 100, maxMs: 2_000 };

/**
 * Reads the first bytes of the object from one source after the other, until they have the digest that the record names.
 *
 * @returns Memory that holds the manifest and nothing else, registered with nobody; the caller closes it.
 * @throws P2P_NO_SOURCE No source gave it.
 * @throws P2P_OBJECT_NOT_FOUND, P2P_OBJECT_SUPERSEDED The object went away meanwhile.
 */
export async function readManifest(parts: Parts, request: ManifestRequest): Promise<MemoryRegion> {
  const region = allocate(request.folder.manifestBytes);
  try {
    await parts.engine.registerLocalMemory(region.address, region.sizeBytes, ANY_LOCATION, {
      remoteAccess: 'none',
      isListed: false,
    });
    try {
      await readFromSomebody(parts, request, region);
    } finally {
      await parts.engine.unregisterLocalMemory(region.address);
    }
    return region;
  } catch (error) {
    await region.close();
    throw error;
  }
}

async function readFromSomebody(parts: Parts, request: ManifestRequest, region: MemoryRegion): Promise<void> {
  const { name, signal } = request;
  const startedMs = performance.now();
  let { found } = request;
  for (let round = 0; ; round++) {
    const failures: unknown[] = [];
    for (const source of inOrder(found.sources)) {
      try {
        await readFrom(parts, request, source, region, round > 0);
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (isP2PStoreError(error, ErrorCode.Closed)) throw error;
        failures.push(error);
      }
      if (performance.now() - startedMs > GIVE_UP_MS) throw noSource(name, found.object, region, failures);
    }
    await sleep(backoffMs(round, RETRY), signal);
    found = await findSame(parts, request);
  }
}

/** Those that have it for certain first, otherwise at random, so that many receivers do not all ask one. */
function inOrder(sources: readonly ListedSource[]): ListedSource[] {
  return sources
    .map((listed) => ({ listed, rank: Math.random() + (listed.source.isComplete ? 0 : 1) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ listed }) => listed);
}

async function readFrom(
  { engine }: Parts,
  { name, found, folder, signal }: ManifestRequest,
  { segment: segmentName, source }: ListedSource,
  region: MemoryRegion,
  refresh: boolean,
): Promise<void> {
  const segment = await engine.openSegment(segmentName, { refresh, signal });
  let localAddress = Number(region.address);
  const remote = new RangeIndex(sourceInfo(segmentName, source).ranges).slice(0, region.sizeBytes);
  const requests = remote.map(({ address, lengthBytes }) => {
    const request = { opcode: 'read', segment, localAddress, remoteAddress: address, lengthBytes } as const;
    localAddress += lengthBytes;
    return request;
  });
  await engine.submitTransfer(requests, { signal }).done;
  // On this thread: the digest threads start with the first piece, and even 64 MiB take less than that.
  const digest = digestBytes(digestOfFolder(found.object.digest.algorithm), region.view());
  if (Buffer.from(digest).toString('hex') === folder.manifestDigest) return;
  throw new P2PStoreError(
    ErrorCode.DigestMismatch,
    `Cannot use the manifest of "${name}" that ${segmentName} gave: it has another digest than the record says`,
    { name, pieceIndex: 0, segment: segmentName },
  );
}

async function findSame({ reader }: Parts, { name, found, signal }: ManifestRequest): Promise<FoundObject> {
  const now = await reader.find(name, { signal });
  if (now === undefined) {
    throw new P2PStoreError(ErrorCode.ObjectNotFound, `Cannot pull "${name}": no live store has it any more`, { name });
  }
  if (now.object.generation === found.object.generation) return now;
  const message = `Cannot pull "${name}": another object took the name meanwhile`;
  throw new P2PStoreError(ErrorCode.ObjectSuperseded, message, { name });
}

function noSource(name: string, object: ObjectRecord, region: MemoryRegion, failures: unknown[]): P2PStoreError {
  return new P2PStoreError(
    ErrorCode.NoSource,
    `Cannot pull "${name}": no source gave its manifest within ${GIVE_UP_MS / 1000} s`,
    { name, missingPieces: countPieces(object), missingBytes: region.sizeBytes },
    { cause: new AggregateError(failures, 'every source failed') },
  );
}
