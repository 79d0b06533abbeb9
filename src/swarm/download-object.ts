import type { DownloadInput } from './download-input.ts';
import { DownloadSession } from './download-session.ts';
import type { DownloadResult } from './download-types.ts';
import { PeerClient } from './peer-client.ts';

/**
 * Pulls an object into its target memory, from whoever has its pieces, and offers each as soon as it is verified.
 * However it ends, nothing reads or writes the target memory any more for it by then.
 *
 * @returns Once every piece is in memory and verified.
 * @throws P2P_NO_SOURCE Pieces are left that nobody has, for longer than the grace.
 * @throws P2P_MEMORY_CHANGED The owner changed the registered memory, and nobody has the bytes as they were.
 * @throws P2P_MEMORY_FAULT A source's memory cannot be read, and nobody else has the bytes; or the target's cannot.
 * @throws P2P_DIGEST_MISMATCH A piece came out wrong too often.
 * @throws signal.reason After an abort.
 */
export async function downloadObject(input: DownloadInput): Promise<DownloadResult> {
  input.signal?.throwIfAborted();
  if (input.client !== undefined) return await new DownloadSession(input, input.client).run();
  await using client = new PeerClient();
  return await new DownloadSession(input, client).run();
}
