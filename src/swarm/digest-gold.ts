import { isP2PStoreError } from '../core/errors.ts';
import { MIB } from '../core/units.ts';
import type { Digester } from './digester.ts';
import type { SharedObject } from './shared-object.ts';

/**
 * Work ahead of the digest threads, so that they never wait for this one: receivers need the digests at once, and a busy
 * machine may take 10 ms from one thread to the other.
 */
const bytesAtOnce: number = 16 * MIB;
const piecesAtOnceMin = 4;
const piecesAtOnceMax = 64;

/**
 * Digests the pieces of a gold source in order, behind the registration; peers hear of each as it is known.
 *
 * Memory that cannot be read marks the object damaged, so that peers leave it.
 *
 * @returns The root in hex, or undefined where the object has no digests.
 * @throws P2P_MEMORY_FAULT The memory cannot be read, or `signal.reason` after an abort; nothing reads the memory
 *   any more once this has settled.
 */
export async function digestGold(
  object: SharedObject,
  digester: Digester,
  options: { readonly signal?: AbortSignal } = {},
): Promise<string | undefined> {
  const algorithm = object.layout.digestAlgorithm;
  if (algorithm === 'none') return undefined;
  object.attachDigester(digester);
  object.completeEmpty();
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([failed.signal, options.signal]);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < object.pieces) {
      const piece = next++;
      signal.throwIfAborted();
      const digest = await digester.digest(algorithm, object.rangesOf(piece), { signal, priority: 'background' });
      object.setDigest(piece, digest);
    }
  };
  const wanted = Math.ceil(bytesAtOnce / object.layout.pieceSizeBytes);
  const piecesAtOnce = Math.min(Math.max(wanted, piecesAtOnceMin), piecesAtOnceMax, object.pieces);
  const lanes = Array.from({ length: piecesAtOnce }, () =>
    lane().catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(lanes);
  if (options.signal?.aborted === true) throw options.signal.reason;
  if (failed.signal.aborted) {
    const reason: unknown = failed.signal.reason;
    object.markDamaged(isP2PStoreError(reason) ? reason.message : 'its memory cannot be digested');
    throw reason;
  }
  return object.rootHex;
}
