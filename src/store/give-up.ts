import { sleep } from '../core/abort.ts';
import type { LocalObject } from './local-object.ts';
import type { StoreParts } from './store-parts.ts';

/** A call that fails or is aborted waits so long for its records to go; then they go behind it. */
const RECORDS_WAIT_MS = 1_000;

/** Undoes the opening of an object: memory first, then what may have been written about it. */
export async function giveUp(parts: StoreParts, local: LocalObject, written: Promise<unknown>): Promise<void> {
  await local.close();
  const removal = parts.sync.remove(local, written).catch((error: unknown) => {
    parts.logger.warn({ name: local.name, error }, 'records of a failed call not deleted yet');
  });
  await Promise.race([removal, sleep(RECORDS_WAIT_MS)]);
}
