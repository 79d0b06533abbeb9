import type { RefuseWhen } from '../../transfer.ts';
import { REQUEST_FIELDS } from './messages.ts';
import type { Slice } from './slice.ts';

const MUST_NOT_REFUSE: RefuseWhen = { queuedBytes: 0, sentWithinMs: 0 };

/** The slices of one `submit` message to a worker. */
export function packSlices(slices: readonly Slice[]): Float64Array {
  const packed = new Float64Array(slices.length * REQUEST_FIELDS);
  slices.forEach(({ id, offset, lengthBytes, progress: { request, flow } }, index) => {
    const opcode = request.opcode === 'write' ? 1 : 0;
    const isWhole = lengthBytes === request.lengthBytes;
    const { queuedBytes, sentWithinMs } = (isWhole ? request.refuseWhen : undefined) ?? MUST_NOT_REFUSE;
    const addresses = [request.localAddress + offset, request.remoteAddress + offset];
    packed.set([id, opcode, ...addresses, lengthBytes, flow, queuedBytes, sentWithinMs], index * REQUEST_FIELDS);
  });
  return packed;
}
