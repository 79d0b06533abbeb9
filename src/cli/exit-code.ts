/** What a failure means to the shell, and what the user may do about it. */
import { ErrorCode, isP2PStoreError } from '../core/errors.ts';
import type { Config } from './config.ts';

export const ExitCode = { Done: 0, Failed: 1, Usage: 2, NotFound: 3, TimedOut: 4, Interrupted: 130 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

function hasName(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

/**
 * Maps what a command threw. A failure counts as an interruption only when it is the abort itself: what went wrong
 * by itself while the user pressed Ctrl-C is still reported.
 */
export function exitCodeOf(error: unknown): ExitCode {
  if (hasName(error, 'AbortError')) return ExitCode.Interrupted;
  if (hasName(error, 'TimeoutError')) return ExitCode.TimedOut;
  if (isP2PStoreError(error, ErrorCode.ObjectNotFound)) return ExitCode.NotFound;
  if (isP2PStoreError(error, ErrorCode.InvalidArgument)) return ExitCode.Usage;
  return ExitCode.Failed;
}

/** The code that scripts read: ours, a timeout's, an interruption's, or the one of a system error. */
export function errorCodeOf(error: unknown): string {
  if (hasName(error, 'AbortError')) return 'INTERRUPTED';
  if (hasName(error, 'TimeoutError')) return 'TIMED_OUT';
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return 'UNEXPECTED';
}

/** @returns A next step, or undefined where none is obvious. */
export function hintFor(error: unknown, config: Config | undefined): string | undefined {
  const uri = config?.metadataUri ?? 'local:';
  if (hasName(error, 'TimeoutError')) return 'give it longer with --timeout';
  if (!isP2PStoreError(error)) return undefined;
  switch (error.code) {
    case ErrorCode.ObjectNotFound:
      return config?.isMetadataGiven === true
        ? '"p2pstore list" with the same --metadata shows what is there'
        : 'the default --metadata local: reaches this machine only; "p2pstore list" shows what is there';
    case ErrorCode.ObjectExists:
      return '--force publishes over it, another --name beside it';
    case ErrorCode.MetadataUnavailable:
      return `is anything running at ${withoutCredentials(uri)}? See --metadata`;
    case ErrorCode.MetadataDenied:
      return /^rediss?:/.test(uri)
        ? 'set P2PSTORE_METADATA to redis://user:password@host:port'
        : 'set P2PSTORE_ETCD_USER and P2PSTORE_ETCD_PASSWORD';
    case ErrorCode.DiskFull:
      return 'free some space, or choose another --output';
    case ErrorCode.SegmentInUse:
      return 'choose another --segment';
    case ErrorCode.NoSource:
      return '"p2pstore status" with the name shows who serves it';
    default:
      return undefined;
  }
}

/** @returns The URI as it may be shown: a user and a password inside are left out. */
export function withoutCredentials(uri: string): string {
  return uri.replace(/^([a-z+]+:\/\/)[^/?]*@/i, '$1');
}
