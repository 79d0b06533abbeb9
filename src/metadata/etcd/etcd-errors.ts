import { Code, ConnectError } from '@connectrpc/connect';
import { ErrorCode, P2PStoreError } from '../../core/errors.ts';

/** What a failed call means for the next step. */
export type EtcdFailure =
  /** Another endpoint, or the same one later, may answer. */
  | 'unavailable'
  /** The token is unknown to the server, which was restarted or let it expire. */
  | 'token-expired'
  | 'denied'
  | 'lease-not-found'
  | 'too-large'
  /** The revision that was asked for is no longer kept. */
  | 'compacted'
  | 'auth-not-enabled'
  /** No use in trying again. */
  | 'final';

/** etcd distinguishes its errors by text only; codes are shared by unrelated ones (`rpctypes/error.go`). */
const BY_TEXT: readonly (readonly [string, EtcdFailure])[] = [
  ['invalid auth token', 'token-expired'],
  ['revision of auth store is old', 'token-expired'],
  ['authentication is not enabled', 'auth-not-enabled'],
  ['authentication failed', 'denied'],
  ['user name is empty', 'denied'],
  ['user name not found', 'denied'],
  ['permission denied', 'denied'],
  ['requested lease not found', 'lease-not-found'],
  ['request is too large', 'too-large'],
  ['message larger than max', 'too-large'],
  ['has been compacted', 'compacted'],
  ['database space exceeded', 'final'],
  ['too many operations', 'final'],
  ['too many requests', 'unavailable'],
];

const UNAVAILABLE_CODES: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled, // the stream was reset by the server: cancelling ourselves is told apart before
  Code.Aborted,
  Code.Internal, // HTTP/2 violations, such as a server that dies in the middle of an answer
  Code.Unknown,
]);

/** Certificates that one side does not accept stay so; Node names them in many ways. */
const TLS_FAILURE = /^ERR_(?:SSL|TLS)_|CERT|UNABLE_TO_(?:VERIFY|GET_ISSUER)/;

export function classifyFailure(error: unknown): EtcdFailure {
  if (!(error instanceof ConnectError)) return isTimeout(error) ? 'unavailable' : 'final';
  const text = BY_TEXT.find(([part]) => error.rawMessage.includes(part));
  if (text !== undefined) return text[1];
  if (hasCause(error, (code) => TLS_FAILURE.test(code))) return 'final';
  if (error.code === Code.PermissionDenied || error.code === Code.Unauthenticated) return 'denied';
  return UNAVAILABLE_CODES.has(error.code) ? 'unavailable' : 'final';
}

/** Whether the connection was refused, so that the request cannot have reached the server. */
export function isRefused(error: unknown): boolean {
  return hasCause(error, (code) => code === 'ECONNREFUSED');
}

function hasCause(error: unknown, matches: (code: string) => boolean): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string' && matches(cause.code)) return true;
  }
  return false;
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError';
}

export function unavailableError(uri: string, cause: unknown): P2PStoreError<'P2P_METADATA_UNAVAILABLE'> {
  const state = cause instanceof ConnectError ? cause.rawMessage : 'it did not answer in time';
  return new P2PStoreError(
    ErrorCode.MetadataUnavailable,
    `Cannot use metadata store ${uri}: ${state}`,
    { uri },
    { cause },
  );
}

export function deniedError(uri: string, cause: unknown): P2PStoreError<'P2P_METADATA_DENIED'> {
  const state = cause instanceof ConnectError ? cause.rawMessage : 'it refused the credentials';
  return new P2PStoreError(ErrorCode.MetadataDenied, `Cannot use metadata store ${uri}: ${state}`, { uri }, { cause });
}
