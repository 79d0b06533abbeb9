import type { RefuseWhen } from '../../transfer.ts';
import { REQUEST_FIELDS } from './messages.ts';
import type { Slice } from './slice.ts';

const MUST_NOT_REFUSE: RefuseWhen = { queuedBytes: 0, sentWithinMs: 0 };

/** The slices of one `submit` message to a worker. */
export function packSlices(slices: readonly Slice[]): Float64Array {
  const packed = new Float64Array(slices.length * REQUEST_FIELDS);
  let at = 0;
  for (const { id, offset, lengthBytes, progress } of slices) {
    const { request, flow } = progress;
    const isWhole = lengthBytes === request.lengthBytes;
    const { queuedBytes, sentWithinMs } = (isWhole ? request.refuseWhen : undefined) ?? MUST_NOT_REFUSE;
    packed[at] = id;
    packed[at + 1] = request.opcode === 'write' ? 1 : 0;
    packed[at + 2] = request.localAddress + offset;
    packed[at + 3] = request.remoteAddress + offset;
    packed[at + 4] = lengthBytes;
    packed[at + 5] = flow;
    packed[at + 6] = queuedBytes;
    packed[at + 7] = sentWithinMs;
    packed[at + 8] = isWhole && request.opcode === 'read' && request.digestAlgorithm !== undefined ? 1 : 0;
    at += REQUEST_FIELDS;
  }
  return packed;
}
