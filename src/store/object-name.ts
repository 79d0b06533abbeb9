import { ErrorCode, P2PStoreError } from '../core/errors.ts';

/** Bounds the keys: escaped, a name and a segment stay below the 1,536 bytes that a key may have. */
export const NAME_MAX_BYTES = 512;
export const SEGMENT_NAME_MAX_BYTES = 240;

const FORBIDDEN = /[\p{Cc}\p{Surrogate}]/u;

/** @returns The error for a value that the caller must change; `state` says what is wrong with it. */
export function invalidArgument(argument: string, state: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot use ${argument}: ${state}`, { argument });
}

function checkText(text: unknown, argument: string, maxBytes: number): void {
  if (typeof text !== 'string') throw invalidArgument(argument, `it is of type ${typeof text}, not a string`);
  if (FORBIDDEN.test(text)) {
    throw invalidArgument(argument, 'it holds a control character or half a surrogate pair');
  }
  const lengthBytes = Buffer.byteLength(text);
  if (lengthBytes > maxBytes) {
    throw invalidArgument(argument, `it has ${lengthBytes} bytes of UTF-8, the limit is ${maxBytes}`);
  }
}

/**
 * Checks an object's name: 1 to 512 bytes of UTF-8, well formed, without control characters. Anything else is
 * allowed, also `/`, `..` and `%`: a name is a name, not a path.
 *
 * @throws P2P_INVALID_ARGUMENT
 */
export function checkObjectName(name: string): void {
  checkText(name, 'name', NAME_MAX_BYTES);
  if (name === '') throw invalidArgument('name', 'it is empty');
}

/**
 * Like {@link checkObjectName}; a folder's name ends in `/`, so that it is a prefix of what it stands for.
 *
 * @throws P2P_INVALID_ARGUMENT
 */
export function checkFolderName(name: string): void {
  checkObjectName(name);
  if (!name.endsWith('/')) throw invalidArgument('name', `"${name}" does not end in /, as names of folders do`);
}

/** Like {@link checkObjectName}, but a prefix may be empty. */
export function checkNamePrefix(prefix: string): void {
  checkText(prefix, 'namePrefix', NAME_MAX_BYTES);
}

/** @throws P2P_INVALID_ARGUMENT Unless it is 1 to 240 bytes of UTF-8 without control characters. */
export function checkSegmentName(name: string): void {
  checkText(name, 'localSegmentName', SEGMENT_NAME_MAX_BYTES);
  if (name === '') throw invalidArgument('localSegmentName', 'it is empty');
}
