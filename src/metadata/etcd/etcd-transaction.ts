import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Condition, Write } from '../metadata-store.ts';
import { toRange } from './etcd-records.ts';
import type { CompareSchema, KeyValue, RequestOpSchema, TxnResponse } from './gen/etcd_pb.ts';

const EQUAL = 0;
const TARGET_VERSION = 0;
const TARGET_MOD = 2;

/** A key that does not exist has version 0; a compare over a range holds if it holds for every key there. */
export function toCompare(condition: Condition): MessageInitShape<typeof CompareSchema> {
  const version = { result: EQUAL, target: TARGET_VERSION, targetUnion: { case: 'version' as const, value: 0n } };
  switch (condition.kind) {
    case 'unchanged':
      return {
        result: EQUAL,
        target: TARGET_MOD,
        key: Buffer.from(condition.key),
        targetUnion: { case: 'modRevision', value: condition.revision },
      };
    case 'absent':
      return { ...version, key: Buffer.from(condition.key) };
    case 'prefix-empty':
      return { ...version, ...toRange(condition.prefix) };
  }
}

export function toRequestOp(write: Write): MessageInitShape<typeof RequestOpSchema> {
  const key = Buffer.from(write.key);
  if (write.kind === 'delete') return { request: { case: 'requestDeleteRange', value: { key } } };
  return { request: { case: 'requestPut', value: { key, value: write.value, lease: BigInt(write.leaseId ?? 0) } } };
}

/**
 * Tells whether writes were applied by a try whose answer was lost, when their conditions hold no more.
 *
 * They were if all records are as that try would have left them, written by one commit, and at least one of them hangs
 * on the writer's own lease, so that nobody else can have written it.
 *
 * @param response - Answer to one read of each written key, in order.
 * @returns The revision of that commit; `unknown` when others may have left the same records; `not-applied` when the
 *   records are others' now.
 */
export function judgeLostCommit(writes: readonly Write[], response: TxnResponse): bigint | 'unknown' | 'not-applied' {
  const revisions = new Set<bigint>();
  let hasLease = false;
  for (const [index, write] of writes.entries()) {
    const answer = response.responses[index]?.response;
    const found = answer?.case === 'responseRange' ? answer.value.kvs[0] : undefined;
    if (!isLeftBy(write, found)) return 'not-applied';
    if (found === undefined) continue;
    hasLease ||= found.lease !== 0n;
    revisions.add(found.modRevision);
  }
  const [revision] = revisions;
  if (revisions.size > 1) return 'not-applied';
  return hasLease && revision !== undefined ? revision : 'unknown';
}

function isLeftBy(write: Write, found: KeyValue | undefined): boolean {
  if (write.kind === 'delete' || found === undefined) return write.kind === 'delete' && found === undefined;
  return found.lease === BigInt(write.leaseId ?? 0) && Buffer.compare(found.value, write.value) === 0;
}
