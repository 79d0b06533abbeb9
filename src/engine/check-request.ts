import { ErrorCode, P2PStoreError } from '../core/errors.ts';
import { localRangesOf } from './batch.ts';
import type { RegisteredRanges } from './registered-ranges.ts';
import type { TransferRequest } from './transfer.ts';

/** Bounds what one request may become in the transports. */
const MAX_LOCAL_RANGES = 65_536;

/** @returns Why no transport should see this request; undefined: nothing is wrong with it. */
export function checkRequest(request: TransferRequest, ranges: RegisteredRanges): P2PStoreError | undefined {
  const { remoteAddress, lengthBytes, localRanges } = request;
  if (!isLength(lengthBytes)) return invalidRequest('lengthBytes', 'the length is no whole number of bytes');
  const scatterError = localRanges === undefined ? undefined : checkScatter(request);
  if (scatterError !== undefined || lengthBytes === 0) return scatterError;
  if (!Number.isSafeInteger(Number(remoteAddress)) || Number(remoteAddress) <= 0) {
    return invalidRequest('remoteAddress', 'the remote address is out of range');
  }
  for (const local of localRangesOf(request)) {
    if (local.lengthBytes > 0 && ranges.containing(Number(local.address), local.lengthBytes) === undefined) {
      return invalidRequest(
        localRanges === undefined ? 'localAddress' : 'localRanges',
        'the local memory is not registered',
      );
    }
  }
  return undefined;
}

function checkScatter({
  localRanges = [],
  localAddress,
  lengthBytes,
  refuseWhen,
  digestAlgorithm,
}: TransferRequest): P2PStoreError | undefined {
  if (localAddress !== undefined) return invalidRequest('localRanges', 'it has a localAddress too');
  if (refuseWhen !== undefined) return invalidRequest('refuseWhen', 'what is scattered cannot be refused as a whole');
  if (digestAlgorithm !== undefined) return invalidRequest('digestAlgorithm', 'what is scattered is not digested');
  if (localRanges.length > MAX_LOCAL_RANGES) {
    return invalidRequest('localRanges', `there are ${localRanges.length}, at most ${MAX_LOCAL_RANGES} are allowed`);
  }
  let sum = 0;
  for (const local of localRanges) {
    if (!isLength(local.lengthBytes)) return invalidRequest('localRanges', 'a length is no whole number of bytes');
    sum += local.lengthBytes;
  }
  if (sum === lengthBytes) return undefined;
  return invalidRequest('localRanges', `their lengths sum up to ${sum} bytes, the request has ${lengthBytes}`);
}

function isLength(lengthBytes: number): boolean {
  return Number.isSafeInteger(lengthBytes) && lengthBytes >= 0;
}

function invalidRequest(argument: string, message: string): P2PStoreError<'P2P_INVALID_ARGUMENT'> {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot transfer: ${message}`, { argument });
}
