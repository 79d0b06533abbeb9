import { randomBytes } from 'node:crypto';
import { abortable } from '../core/abort.ts';
import type { ResolvedMemory } from '../memory/resolve-memory.ts';
import { choosePieceSizeBytes } from '../swarm/layout.ts';
import { giveUp } from './give-up.ts';
import { LocalObject } from './local-object.ts';
import { invalidArgument } from './object-name.ts';
import { countPieces, type FolderRecord, type ObjectRecord, PIECES_MAX } from './records.ts';
import type { StoreParts } from './store-parts.ts';

export interface GoldRequest {
  readonly name: string;
  readonly memory: ResolvedMemory;
  readonly maxShardSizeBytes: number;
  readonly location: string;
  /** Undefined: chosen by the object's size, its receivers and the link. */
  readonly pieceSizeBytes?: number | undefined;
  readonly receivers?: number | undefined;
  readonly uplinkBytesPerSecond?: number | undefined;
  readonly algorithm: 'xxh64' | 'blake3' | 'none';
  readonly force: boolean;
  readonly signal: AbortSignal;
  /** Taken over, whatever happens. */
  readonly mapping?: AsyncDisposable | undefined;
  /** Set when the memory is that of a folder. */
  readonly folder?: FolderRecord | undefined;
}

/** @throws P2P_INVALID_ARGUMENT The shard size cuts the object into more pieces than peers accept. */
export function planObject(request: GoldRequest): ObjectRecord {
  const { memory, maxShardSizeBytes, algorithm, folder, receivers, uplinkBytesPerSecond } = request;
  const object: ObjectRecord = {
    version: 1,
    generation: randomBytes(16).toString('hex'),
    sizes: memory.ranges.map(({ lengthBytes }) => lengthBytes),
    maxShardSizeBytes,
    pieceSizeBytes:
      request.pieceSizeBytes ??
      choosePieceSizeBytes({
        totalSize: memory.totalBytes,
        maxShardSize: maxShardSizeBytes,
        receivers,
        uplinkBytesPerSecond,
      }),
    digest: { algorithm },
    ...(folder && { folder }),
  };
  const pieces = countPieces(object);
  if (pieces <= PIECES_MAX) return object;
  throw invalidArgument(
    'maxShardSize',
    `${maxShardSizeBytes} bytes cut the object into ${pieces} pieces, the limit is ${PIECES_MAX}`,
  );
}

/** Offers memory of this store under a name that is reserved, and starts to digest it. */
export async function openGold(parts: StoreParts, object: ObjectRecord, request: GoldRequest): Promise<LocalObject> {
  const { name, memory, location, mapping, force, signal } = request;
  const local = await LocalObject.open(parts, { name, role: 'gold', object, memory, location, mapping });
  parts.objects.attach(local);
  let announced: Promise<void> = Promise.resolve();
  try {
    signal.throwIfAborted();
    announced = parts.directory.announce({ name, object, source: local.source }, { force, signal });
    await abortable(announced, signal);
  } catch (error) {
    await giveUp(parts, local, announced);
    throw error;
  }
  local.isListed = true;
  local.afterwards(() => parts.mirror?.add(local, { force }));
  local.startDigesting(() => {
    parts.sync.put(local).catch((error: unknown) => {
      if (!local.closing.aborted) parts.logger.warn({ name, error }, 'digest root not published yet');
    });
  });
  return local;
}
