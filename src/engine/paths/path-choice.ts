/** Which paths are used, and which of them takes the next slice. Pure: the same for every transport. */

/** What a path leads over. */
export interface CardPair {
  readonly localCard: string;
  readonly remoteCard: string | undefined;
  readonly remoteAddress: string;
  readonly rank: number;
}

/**
 * Takes of the best rank that has any, in their order, each pair that brings in a card which no pair before it has: so
 * every card that works is used, and none has more pairs than it takes for that.
 */
export function selectPaths<T extends { readonly route: CardPair | undefined }>(candidates: readonly T[]): T[] {
  const rank = Math.min(...candidates.map(({ route }) => route?.rank ?? 0));
  const locals = new Set<string>();
  const remotes = new Set<string>();
  return candidates.filter(({ route }) => {
    if (route === undefined) return true;
    const remote = route.remoteCard ?? route.remoteAddress;
    const isNew = !locals.has(route.localCard) || !remotes.has(remote);
    if (route.rank !== rank || !isNew) return false;
    locals.add(route.localCard);
    remotes.add(remote);
    return true;
  });
}

export interface Carrier {
  /** Above 0. */
  readonly bytesPerSecond: number;
  readonly inflightBytes: number;
  /** Whether it can take a slice now. */
  hasRoom(): boolean;
}

/** A slow path takes a slice only if it ends not much later than if the others did all that waits. */
const LATE_RATIO = 1.25;
const LATE_MS = 50;

/**
 * The path that would end the next slice first; undefined when none has room, or when it is better left to paths that
 * are full now but faster. One of those has bytes under way, so it asks again.
 *
 * @param sliceBytes - Of the next slice.
 * @param queuedBytes - Of all that wait, the next slice among them.
 */
export function choosePath<T extends Carrier>(
  paths: readonly T[],
  sliceBytes: number,
  queuedBytes: number,
): T | undefined {
  let best: T | undefined;
  let bestMs = Number.POSITIVE_INFINITY;
  for (const path of paths) {
    const endsMs = path.hasRoom() ? endsAfterMs(path, sliceBytes) : Number.POSITIVE_INFINITY;
    if (endsMs < bestMs) [best, bestMs] = [path, endsMs];
  }
  if (best === undefined || paths.length === 1) return best;
  return bestMs > othersMs(paths, best, sliceBytes, queuedBytes) * LATE_RATIO + LATE_MS ? undefined : best;
}

function endsAfterMs({ inflightBytes, bytesPerSecond }: Carrier, sliceBytes: number): number {
  return ((inflightBytes + sliceBytes) / bytesPerSecond) * 1000;
}

/** How long the others would take for everything that waits. */
function othersMs(paths: readonly Carrier[], best: Carrier, sliceBytes: number, queuedBytes: number): number {
  let bytes = queuedBytes;
  let bytesPerSecond = 0;
  let firstMs = Number.POSITIVE_INFINITY;
  for (const path of paths) {
    if (path === best) continue;
    bytes += path.inflightBytes;
    bytesPerSecond += path.bytesPerSecond;
    firstMs = Math.min(firstMs, endsAfterMs(path, sliceBytes));
  }
  return Math.max(firstMs, (bytes / bytesPerSecond) * 1000);
}

/** What is worth to be moved takes this much longer where it is. */
const MOVE_RATIO = 2;
const MOVE_MS = 100;

/**
 * With nothing left to take: the path whose last slice an idle one would end much sooner, and that idle one.
 *
 * @param sliceBytes - Of a slice.
 */
export function chooseMove<T extends Carrier>(
  paths: readonly T[],
  sliceBytes: number,
): { readonly from: T; readonly to: T } | undefined {
  let from: T | undefined;
  let to: T | undefined;
  let slowestMs = 0;
  for (const path of paths) {
    const leftMs = (path.inflightBytes / path.bytesPerSecond) * 1000;
    if (path.inflightBytes === 0 && path.bytesPerSecond > (to?.bytesPerSecond ?? 0)) to = path;
    if (leftMs > slowestMs) [from, slowestMs] = [path, leftMs];
  }
  if (from === undefined || to === undefined) return undefined;
  return slowestMs > endsAfterMs(to, sliceBytes) * MOVE_RATIO + MOVE_MS ? { from, to } : undefined;
}
