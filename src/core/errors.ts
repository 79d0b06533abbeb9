/** Every code this package raises. Codes are public API: add, never rename, never reuse. */
export const ErrorCode = {
  InvalidArgument: 'P2P_INVALID_ARGUMENT',
  SizeMismatch: 'P2P_SIZE_MISMATCH',
  AddressOverlapped: 'P2P_ADDRESS_OVERLAPPED',
  ObjectNotFound: 'P2P_OBJECT_NOT_FOUND',
  ObjectExists: 'P2P_OBJECT_EXISTS',
  ObjectSuperseded: 'P2P_OBJECT_SUPERSEDED',
  PayloadOpened: 'P2P_PAYLOAD_OPENED',
  PayloadNotOpened: 'P2P_PAYLOAD_NOT_OPENED',
  DigestMismatch: 'P2P_DIGEST_MISMATCH',
  MemoryChanged: 'P2P_MEMORY_CHANGED',
  MemoryFault: 'P2P_MEMORY_FAULT',
  NoSource: 'P2P_NO_SOURCE',
  PeerUnreachable: 'P2P_PEER_UNREACHABLE',
  TransferFailed: 'P2P_TRANSFER_FAILED',
  TransferRejected: 'P2P_TRANSFER_REJECTED',
  TransferRefused: 'P2P_TRANSFER_REFUSED',
  SegmentNotFound: 'P2P_SEGMENT_NOT_FOUND',
  SegmentInUse: 'P2P_SEGMENT_IN_USE',
  MetadataUnavailable: 'P2P_METADATA_UNAVAILABLE',
  MetadataDenied: 'P2P_METADATA_DENIED',
  LeaseLost: 'P2P_LEASE_LOST',
  RecordInvalid: 'P2P_RECORD_INVALID',
  RecordTooLarge: 'P2P_RECORD_TOO_LARGE',
  DiskFull: 'P2P_DISK_FULL',
  FileFailed: 'P2P_FILE_FAILED',
  SystemCallFailed: 'P2P_SYSTEM_CALL_FAILED',
  WorkerFailed: 'P2P_WORKER_FAILED',
  Unsupported: 'P2P_UNSUPPORTED',
  Closed: 'P2P_CLOSED',
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** The structured facts each code carries; also the fields of its log line. */
export interface ErrorContext {
  P2P_INVALID_ARGUMENT: { readonly argument: string };
  P2P_SIZE_MISMATCH: { readonly name: string; readonly expectedBytes: number; readonly actualBytes: number };
  P2P_ADDRESS_OVERLAPPED: { readonly address: bigint; readonly lengthBytes: number };
  P2P_OBJECT_NOT_FOUND: { readonly name: string };
  P2P_OBJECT_EXISTS: { readonly name: string };
  P2P_OBJECT_SUPERSEDED: { readonly name: string };
  P2P_PAYLOAD_OPENED: { readonly name: string };
  P2P_PAYLOAD_NOT_OPENED: { readonly name: string };
  P2P_DIGEST_MISMATCH: { readonly name: string; readonly pieceIndex: number; readonly segment: string };
  P2P_MEMORY_CHANGED: { readonly name: string; readonly pieceIndex: number; readonly segment: string };
  P2P_MEMORY_FAULT: { readonly address: bigint; readonly lengthBytes: number };
  P2P_NO_SOURCE: { readonly name: string; readonly missingPieces: number; readonly missingBytes: number };
  P2P_PEER_UNREACHABLE: { readonly peer: string };
  P2P_TRANSFER_FAILED: { readonly peer: string; readonly address: bigint; readonly lengthBytes: number };
  P2P_TRANSFER_REJECTED: { readonly peer: string; readonly address: bigint; readonly lengthBytes: number };
  P2P_TRANSFER_REFUSED: { readonly peer: string; readonly reason: 'busy' | 'sent' };
  P2P_SEGMENT_NOT_FOUND: { readonly segment: string };
  P2P_SEGMENT_IN_USE: { readonly segment: string };
  P2P_METADATA_UNAVAILABLE: { readonly uri: string };
  P2P_METADATA_DENIED: { readonly uri: string };
  P2P_LEASE_LOST: { readonly leaseId: string };
  P2P_RECORD_INVALID: { readonly key: string };
  P2P_RECORD_TOO_LARGE: { readonly key: string; readonly sizeBytes: number; readonly limitBytes: number };
  P2P_DISK_FULL: { readonly path: string; readonly neededBytes: number };
  P2P_FILE_FAILED: { readonly path: string; readonly operation: string };
  P2P_SYSTEM_CALL_FAILED: { readonly call: string; readonly errno: number; readonly errnoName: string };
  P2P_WORKER_FAILED: { readonly worker: string };
  P2P_UNSUPPORTED: { readonly feature: string };
  P2P_CLOSED: { readonly resource: string };
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ErrorCode.DigestMismatch, // another source may hold an intact copy
  ErrorCode.NoSource, // a source may come back
  ErrorCode.PeerUnreachable,
  ErrorCode.TransferFailed,
  ErrorCode.TransferRefused, // it was busy
  ErrorCode.MetadataUnavailable,
  ErrorCode.WorkerFailed, // a new worker takes its place
  ErrorCode.LeaseLost, // the keeper grants a new one
]);

/** An expected, operational failure. Broken invariants use {@link assert} instead. */
export class P2PStoreError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'P2PStoreError';
  readonly code: C;
  readonly context: ErrorContext[C];

  constructor(code: C, message: string, context: ErrorContext[C], options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.context = context;
  }

  /** Whether the same call, unchanged, may succeed later. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** Narrows by code. Compares names, not prototypes, so it survives duplicate installs. */
export function isP2PStoreError<C extends ErrorCode>(value: unknown, code?: C): value is P2PStoreError<C> {
  if (!(value instanceof Error) || value.name !== 'P2PStoreError') return false;
  return code === undefined || ('code' in value && value.code === code);
}
