import { chmodSync, mkdirSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** Where `local:` without a path keeps its data: gone after a reboot, as are the stores that it lists. */
export function defaultDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const runtimeDirectory = environment['XDG_RUNTIME_DIR'];
  if (runtimeDirectory !== undefined && path.isAbsolute(runtimeDirectory))
    return path.join(runtimeDirectory, 'p2pstore');
  return path.join(os.tmpdir(), `p2pstore-${process.getuid?.() ?? 'user'}`);
}

/**
 * Makes the directory if needed, for this user alone.
 *
 * @throws P2P_METADATA_DENIED It is another user's, who could then change what peers read, or end them by truncating.
 * @throws P2P_METADATA_UNAVAILABLE It cannot be made.
 */
export function prepareDirectory(directory: string): void {
  const uri = `local:${directory}`;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(directory);
    if (process.getuid !== undefined && uid !== process.getuid()) {
      throw new P2PStoreError(
        ErrorCode.MetadataDenied,
        `Cannot open metadata store ${uri}: user ${uid} owns the directory, it must be user ${process.getuid()}`,
        { uri },
      );
    }
    if ((mode & 0o022) !== 0) chmodSync(directory, 0o700); // others could swap the files
  } catch (cause) {
    if (cause instanceof P2PStoreError) throw cause;
    throw new P2PStoreError(
      ErrorCode.MetadataUnavailable,
      `Cannot open metadata store ${uri}: the directory cannot be used`,
      { uri },
      { cause },
    );
  }
}
