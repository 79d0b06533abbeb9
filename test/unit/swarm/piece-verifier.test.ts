import { describe, expect, test } from 'vitest';
import type { Digester } from '../../../src/swarm/digester.ts';
import { PieceVerifier } from '../../../src/swarm/piece-verifier.ts';
import { SharedObject } from '../../../src/swarm/shared-object.ts';
import { eventually } from '../../support/eventually.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';

const right = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const wrong = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 9);

/** @param inMemory - What a look at the memory would find. */
function setUp(inMemory: Uint8Array) {
  const layout = layoutOf(2 * pieceSizeBytes);
  const range = { address: 4096, lengthBytes: layout.totalSize, access: 'direct' as const };
  const object = new SharedObject({ layout, role: 'replica', ranges: [range] });
  object.setDigest(0, right);
  let looks = 0;
  const digester: Digester = {
    digest: () => {
      looks++;
      return Promise.resolve(inMemory);
    },
  };
  const heard: string[] = [];
  const verifier = new PieceVerifier(object, digester, {
    onVerified: ({ piece }) => heard.push(`verified ${piece}`),
    onMismatch: ({ piece }, seen) => heard.push(`mismatch ${piece} ${Buffer.from(seen).toString('hex')}`),
    onFailed: (error) => heard.push(String(error)),
  });
  return { object, verifier, heard, looks: () => looks };
}

describe('PieceVerifier', () => {
  test('believes a digest that was made on the way, and does not read the memory again', async () => {
    const { verifier, heard, looks } = setUp(wrong);
    verifier.verify({ piece: 0, writers: ['a'], digest: right });
    await eventually('the verdict', () => heard.length > 0);
    expect(heard).toEqual(['verified 0']);
    expect(looks()).toBe(0);
  });

  test('finds a wrong one, and tells what was seen', async () => {
    const { verifier, heard } = setUp(right);
    verifier.verify({ piece: 0, writers: ['a'], digest: wrong });
    await eventually('the verdict', () => heard.length > 0);
    expect(heard).toEqual(['mismatch 0 0102030405060709']);
  });

  test('reads the memory when nobody has made one, and keeps one until the piece may be compared', async () => {
    const { object, verifier, heard, looks } = setUp(right);
    verifier.verify({ piece: 0, writers: ['a', 'b'] });
    verifier.verify({ piece: 1, writers: ['a'], digest: right });
    expect(verifier.waiting()).toEqual([1]);
    object.setDigest(1, right);
    await eventually('both verdicts', () => heard.length === 2);
    expect(heard.toSorted()).toEqual(['verified 0', 'verified 1']);
    expect(looks()).toBe(1);
  });
});
