import { setMaxListeners } from 'node:events';
import { sleep } from '../core/abort.ts';
import { systemClock } from '../core/clock.ts';
import type { ObjectRecord } from './records.ts';
import { SourceWatch } from './source-watch.ts';
import { askSources, findForStatus, listingsOf, type ObjectStatus } from './status.ts';
import type { StoreParts } from './store-parts.ts';

type WatchParts = Pick<StoreParts, 'metadata' | 'reader' | 'peerClient'>;

interface StatusWatchOptions {
  readonly intervalMs: number;
  readonly signal: AbortSignal | undefined;
  /** Fires when the store closes. */
  readonly closing: AbortSignal;
}

/**
 * Yields the status of an object again and again. Who its sources are comes from a watch of their records, so each
 * status costs the metadata store nothing and each source one message.
 *
 * @throws signal.reason When it fires. Ends quietly when the store closes.
 * @throws P2P_OBJECT_NOT_FOUND At the start. An object that vanishes later has no sources, and may come again.
 */
export async function* watchStatus(
  parts: WatchParts,
  name: string,
  { intervalMs, signal, closing }: StatusWatchOptions,
): AsyncGenerator<ObjectStatus, void> {
  signal?.throwIfAborted();
  const either = AbortSignal.any(signal === undefined ? [closing] : [signal, closing]);
  setMaxListeners(0, either); // one for each source that is asked is no leak
  try {
    let { object } = await findForStatus(parts, name, either);
    for (;;) {
      yield* watchGeneration(parts, { name, object, intervalMs }, either);
      object = (await parts.reader.find(name, { signal: either }))?.object ?? object;
    }
  } catch (error) {
    if (!closing.aborted) throw error;
  }
  signal?.throwIfAborted();
}

/** Ends when another object has taken the name, after one status at least. */
async function* watchGeneration(
  parts: WatchParts,
  watched: { readonly name: string; readonly object: ObjectRecord; readonly intervalMs: number },
  signal: AbortSignal,
): AsyncGenerator<ObjectStatus, void> {
  const { name, object, intervalMs } = watched;
  let isSuperseded = false;
  await using sources = await SourceWatch.open({
    metadata: parts.metadata,
    reader: parts.reader,
    name,
    generation: object.generation,
    ownSegment: '', // also this store's own sources are of interest
    isWhole: true,
    onSuperseded: () => {
      isSuperseded = true;
    },
    signal,
  });
  do {
    const startedMs = systemClock.nowMs();
    yield await askSources(parts, { name, object, listings: listingsOf(sources.current()) }, signal);
    await sleep(Math.max(0, startedMs + intervalMs - systemClock.nowMs()), signal);
  } while (!isSuperseded);
}
