import { ErrorCode, P2PStoreError } from '../../../core/errors.ts';
import type { Segment } from '../../segment.ts';
import { Outcome } from './messages.ts';
import type { Slice } from './slice.ts';

/**
 * What a slice fails with that is not tried again.
 *
 * @param peer - Its name and address, for people.
 */
export function errorOfSlice(slice: Slice, outcome: Outcome, segment: Segment, peer: string): P2PStoreError {
  const { offset, lengthBytes, connection, progress } = slice;
  const { request } = progress;
  const facts = { peer: segment.name, address: BigInt(request.remoteAddress + offset), lengthBytes };
  switch (outcome) {
    case Outcome.Rejected:
      return new P2PStoreError(
        ErrorCode.TransferRejected,
        `Cannot ${request.opcode} memory of ${peer}: it refused the address`,
        facts,
      );
    case Outcome.Busy:
    case Outcome.Sent:
      return new P2PStoreError(ErrorCode.TransferRefused, `Cannot read memory of ${peer}: it has others to serve`, {
        peer: segment.name,
        reason: outcome === Outcome.Busy ? 'busy' : 'sent',
      });
    case Outcome.MemoryFault:
      return new P2PStoreError(
        ErrorCode.MemoryFault,
        'Cannot move bytes: the local memory is not mapped any more, or its file was truncated or is out of space',
        { address: BigInt(request.localAddress + offset), lengthBytes },
      );
    default:
      return new P2PStoreError(
        ErrorCode.TransferFailed,
        `Cannot ${request.opcode} memory of ${peer}: ${connection?.closeReason ?? 'the connection ended'}`,
        facts,
      );
  }
}
