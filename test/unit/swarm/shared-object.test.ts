import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../src/digest/digest-bytes.ts';
import { type SharedChange, SharedObject } from '../../../src/swarm/shared-object.ts';
import { layoutOf, pieceSizeBytes } from '../../support/swarm-nodes.ts';

const layout = layoutOf(3 * pieceSizeBytes - 1);
const ranges = [
  { address: 4096, lengthBytes: 100, access: 'direct' as const },
  { address: 8192, lengthBytes: layout.totalSize - 100, access: 'guarded' as const },
];

function create(role: 'gold' | 'replica'): { object: SharedObject; changes: SharedChange[] } {
  const object = new SharedObject({ layout, role, ranges });
  const changes: SharedChange[] = [];
  object.subscribe((change) => changes.push(change));
  return { object, changes };
}

const digestOf = (piece: number): Uint8Array => Uint8Array.from({ length: 8 }, () => piece);

describe('SharedObject', () => {
  test('a gold source has everything from the start, a replica nothing', () => {
    expect(create('gold').object.isComplete).toBe(true);
    expect(create('replica').object.verified.count).toBe(0);
  });

  test('tells each change once', () => {
    const { object, changes } = create('replica');
    object.markVerified(1);
    object.markVerified(1);
    object.markChanged(1);
    object.markChanged(1);
    object.withdraw();
    object.withdraw();
    object.markDamaged('too late');
    expect(changes).toEqual([
      { kind: 'verified', piece: 1, isFirstCopy: false },
      { kind: 'changed', piece: 1 },
      { kind: 'state' },
    ]);
    expect(object.state).toEqual({ tag: 'withdrawn' });
    expect(object.verified.has(1)).toBe(false);
  });

  test('a listener that unsubscribed hears nothing', () => {
    const { object } = create('replica');
    let heard = 0;
    const unsubscribe = object.subscribe(() => heard++);
    unsubscribe();
    object.markVerified(0);
    expect(heard).toBe(0);
  });

  test('knows the root with the last digest', () => {
    const { object, changes } = create('gold');
    object.setDigests(1, Buffer.concat([digestOf(1), digestOf(2), digestOf(3)])); // one past the end
    expect(object.root).toBeUndefined();
    object.setDigest(0, digestOf(0));
    const list = Buffer.concat([digestOf(0), digestOf(1), digestOf(2)]);
    expect(object.rootHex).toBe(Buffer.from(digestBytes('xxh64', list)).toString('hex'));
    expect(changes.at(-1)).toEqual({ kind: 'root' });
    object.setDigest(0, digestOf(9));
    expect(object.digestOf(0)).toEqual(digestOf(0)); // the first word counts
  });

  test('adopts a list of digests only when it matches the root', () => {
    const { object } = create('replica');
    const list = Buffer.concat([digestOf(0), digestOf(1), digestOf(2)]);
    const root = Buffer.from(digestBytes('xxh64', list)).toString('hex');
    expect(object.adoptDigests(Buffer.concat([digestOf(0), digestOf(1), digestOf(3)]), root)).toBe(false);
    expect(object.adoptDigests(list.subarray(8), root)).toBe(false);
    expect(object.digestsKnown.count).toBe(0);
    expect(object.adoptDigests(list, root)).toBe(true);
    expect(object.rootHex).toBe(root);
  });

  test('finds the memory of a piece across buffers', () => {
    const { object } = create('gold');
    expect(object.rangesOf(0)).toEqual([
      { address: 4096, lengthBytes: 100, access: 'direct' },
      { address: 8192, lengthBytes: pieceSizeBytes - 100, access: 'guarded' },
    ]);
    expect(object.rangesOf(2).reduce((total, { lengthBytes }) => total + lengthBytes, 0)).toBe(pieceSizeBytes - 1);
  });

  test('refuses ranges of another total size', () => {
    expect(() => new SharedObject({ layout, role: 'gold', ranges: ranges.slice(1) })).toThrow('differ in size');
  });
});
