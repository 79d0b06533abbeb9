import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { judgeLostCommit } from '../../../../src/metadata/etcd/etcd-transaction.ts';
import { type TxnResponse, TxnResponseSchema } from '../../../../src/metadata/etcd/gen/etcd_pb.ts';
import { put } from '../../../contract/metadata-store.ts';

interface Found {
  readonly value: string;
  readonly lease: bigint;
  readonly modRevision: bigint;
}

function answer(...found: readonly (Found | undefined)[]): TxnResponse {
  return create(TxnResponseSchema, {
    responses: found.map((each) => ({
      response: {
        case: 'responseRange' as const,
        value: { kvs: each === undefined ? [] : [{ ...each, value: Buffer.from(each.value) }] },
      },
    })),
  });
}

const remove = { kind: 'delete', key: 'gone' } as const;

describe('judgeLostCommit', () => {
  test('knows its own commit by the lease', () => {
    const ours = { value: 'x', lease: 7n, modRevision: 5n };
    expect(judgeLostCommit([put('a', 'x', '7'), remove], answer(ours, undefined))).toBe(5n);
    expect(judgeLostCommit([put('a', 'x', '7'), put('b', 'y')], answer(ours, { ...ours, value: 'y', lease: 0n }))).toBe(
      5n,
    );
  });

  test('cannot tell without a lease', () => {
    expect(judgeLostCommit([put('a', 'x')], answer({ value: 'x', lease: 0n, modRevision: 5n }))).toBe('unknown');
    expect(judgeLostCommit([remove], answer(undefined))).toBe('unknown');
  });

  test.each([
    ['another value', { value: 'y', lease: 7n, modRevision: 5n }],
    ['another lease', { value: 'x', lease: 8n, modRevision: 5n }],
    ['nothing', undefined],
  ])('was not applied when there is %s', (_what, found) => {
    expect(judgeLostCommit([put('a', 'x', '7')], answer(found))).toBe('not-applied');
  });

  test('was not applied when the records come from different commits, or a deleted one is there', () => {
    const found = { value: 'x', lease: 7n, modRevision: 5n };
    const writes = [put('a', 'x', '7'), put('b', 'x', '7')];
    expect(judgeLostCommit(writes, answer(found, { ...found, modRevision: 6n }))).toBe('not-applied');
    expect(judgeLostCommit([put('a', 'x', '7'), remove], answer(found, found))).toBe('not-applied');
  });
});
