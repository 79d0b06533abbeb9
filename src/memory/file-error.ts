import { ErrorCode, isP2PStoreError, P2PStoreError } from '../core/errors.ts';

/** The errno name in an error of `node:fs` or of our system calls. */
export function errnoNameOf(error: unknown): string | undefined {
  if (isP2PStoreError(error, ErrorCode.SystemCallFailed)) return error.context.errnoName;
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** @param operation - A verb, as in "Cannot map file". */
export function fileError(operation: string, path: string, cause: unknown): P2PStoreError<'P2P_FILE_FAILED'> {
  const state = cause instanceof Error ? cause.message : String(cause);
  return new P2PStoreError(
    ErrorCode.FileFailed,
    `Cannot ${operation} file ${JSON.stringify(path)}: ${state}`,
    { path, operation },
    { cause },
  );
}

/** The same for an operation that takes disk blocks: a full disk or quota has its own code. */
export function writeError(operation: string, path: string, neededBytes: number, cause: unknown): P2PStoreError {
  const name = errnoNameOf(cause);
  if (name !== 'ENOSPC' && name !== 'EDQUOT') return fileError(operation, path, cause);
  return new P2PStoreError(
    ErrorCode.DiskFull,
    `Cannot ${operation} file ${JSON.stringify(path)}: its ${neededBytes} bytes do not fit on the disk or in the quota`,
    { path, neededBytes },
    { cause },
  );
}
