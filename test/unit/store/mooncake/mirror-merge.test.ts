import { describe, expect, test } from 'vitest';
import {
  isEmpty,
  type MergeInput,
  mergeMirror,
  type Standing,
  withoutSegment,
} from '../../../../src/store/mooncake/mirror-merge.ts';
import type { Payload } from '../../../../src/store/mooncake/payload-record.ts';

/** Two shards; letters name segments, each at another address in both. */
function record(gold: string, replicas: string, sizeBytes = 4n): Payload {
  const at = (names: string, shard: number) =>
    Array.from(names, (segment) => ({ segment, address: BigInt(segment.charCodeAt(0) * 100 + shard) }));
  return {
    name: 'x',
    sizeBytes,
    sizes: [sizeBytes],
    maxShardSizeBytes: 2n,
    shards: [0, 1].map((shard) => ({ sizeBytes: 2n, gold: at(gold, shard), replicas: at(replicas, shard) })),
  };
}

const own = (role: 'gold' | 'replica', segment = 'A'): MergeInput['own'] => ({
  segment,
  role,
  addresses: [0, 1].map((shard) => BigInt(segment.charCodeAt(0) * 100 + shard)),
});

/** Segments a to l are Mooncake's, M to Z are stores of ours with the object, `s` is stale and `g` gone. */
function standingOf(segment: string): Standing {
  if (segment === 's') return 'stale';
  if (segment === 'g') return 'gone';
  return segment < 'Z' ? 'peer' : 'stranger';
}

function merge(current: Payload | undefined, options: Partial<MergeInput> = {}): unknown {
  const input = { shape: record('', ''), own: own('gold'), isTheirs: false, mayReplace: false, wasMirrored: false };
  const result = mergeMirror({ current, standingOf, ...input, ...options });
  if (result.kind === 'leave') return 'leave';
  for (const [index, shard] of result.payload.shards.entries()) {
    for (const { segment, address } of [...shard.gold, ...shard.replicas]) {
      expect(address).toBe(BigInt(segment.charCodeAt(0) * 100 + index));
    }
  }
  const [shard] = result.payload.shards;
  const names = (list: readonly { readonly segment: string }[] = []): string =>
    list.map(({ segment }) => segment).join('');
  return `${names(shard?.gold)}|${names(shard?.replicas)}${result.isAlone ? ' alone' : ''}`;
}

describe('mergeMirror', () => {
  test('makes a record where there is none', () => {
    expect(merge(undefined)).toBe('A| alone');
    expect(merge(undefined, { own: own('replica') })).toBe('|A alone');
    expect(merge(undefined, { own: own('replica'), isTheirs: true })).toBe('leave');
  });

  test('adds this store to others of ours, and takes out who cannot be used', () => {
    expect(merge(record('M', 'N'), { own: own('replica') })).toBe('M|NA');
    expect(merge(record('s', 'gN'))).toBe('A|N');
    expect(merge(record('g', 's'))).toBe('A| alone');
  });

  test('replaces what it had put itself, in whatever role', () => {
    expect(merge(record('A', ''))).toBe('A| alone');
    expect(merge(record('A', 'A'), { own: own('replica') })).toBe('|A alone');
  });

  test('keeps replicas that Mooncake stores made of the same object', () => {
    expect(merge(record('A', 'b'))).toBe('A|b');
    expect(merge(record('M', 'b'), { own: own('replica') })).toBe('M|bA');
    expect(merge(record('', 'b'), { wasMirrored: true })).toBe('A|b');
  });

  test('leaves replicas alone that may be of another object', () => {
    expect(merge(record('', 'b'))).toBe('leave');
    expect(merge(record('g', 'b'), { own: own('replica') })).toBe('leave');
  });

  test('leaves a name to a Mooncake store that registered it, unless forced', () => {
    expect(merge(record('b', 'A'))).toBe('leave');
    expect(merge(record('b', ''), { wasMirrored: true })).toBe('leave');
    expect(merge(record('b', 'c'), { mayReplace: true })).toBe('A| alone');
    expect(merge(record('M', 'N'), { mayReplace: true })).toBe('A|N'.replace('A', 'MA'));
  });

  test('writes over another object only where no Mooncake store is left in its record', () => {
    expect(merge(record('M', 'N', 5n))).toBe('A| alone');
    expect(merge(record('', 'b', 5n))).toBe('leave');
    expect(merge(record('', 'b', 5n), { own: own('replica'), isTheirs: true })).toBe('leave');
  });

  test('keeps all of theirs in a record of theirs', () => {
    const options = { own: own('replica'), isTheirs: true } as const;
    expect(merge(record('b', 'gs'), options)).toBe('b|gA');
    expect(merge(record('', 'b'), options)).toBe('|bA');
  });

  test('adds no fourth replica', () => {
    expect(merge(record('M', 'Nbc'), { own: own('replica') })).toBe('leave');
    expect(merge(record('M', 'NAc'), { own: own('replica') })).toBe('M|NcA');
    expect(merge(record('', 'MNb'))).toBe('A|MNb');
  });
});

describe('withoutSegment', () => {
  test('takes out one store and nobody else, and tells when it is not named', () => {
    expect(withoutSegment(record('bA', 'Ac'), 'A')).toEqual(record('b', 'c'));
    expect(withoutSegment(record('b', 'c'), 'A')).toBeUndefined();
    expect(isEmpty(withoutSegment(record('A', 'A'), 'A') ?? record('A', ''))).toBe(true);
    expect(isEmpty(record('', 'A'))).toBe(false);
  });
});
