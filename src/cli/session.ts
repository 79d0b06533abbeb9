import { abortable } from '../core/abort.ts';
import type { P2PStore } from '../index.ts';
import type { CommandContext } from './command.ts';
import { createLineLogger } from './line-logger.ts';

export type { P2PStore };

/**
 * Opens the store that the configuration describes. An abort ends the wait at once; the store, should it still open,
 * is closed behind it.
 */
export async function openStore({ config, output }: CommandContext, signal: AbortSignal): Promise<P2PStore> {
  const { metadataUri, segmentName, nicMatrix, transports, dataPort, peerPort, etcd, logLevel } = config;
  const { maxUploadBytesPerSecond, maxDownloadBytesPerSecond, mooncakeMirror } = config;
  // Loaded late: `--help` and the demo need nothing of it.
  const { newP2PStore } = await import('../index.ts');
  const opening = newP2PStore(metadataUri, segmentName, nicMatrix, {
    transports,
    dataPort,
    peerPort,
    maxUploadBytesPerSecond,
    maxDownloadBytesPerSecond,
    mooncakeMirror,
    etcd,
    ...(logLevel === undefined ? {} : { logger: createLineLogger(logLevel, (line) => output.log(line)) }),
  });
  try {
    return await abortable(opening, signal);
  } catch (error) {
    opening.then((store) => store.close()).catch(() => {}); // the failure that counts is thrown here
    throw error;
  }
}
