import { beforeEach, describe, expect, test } from 'vitest';
import type { Entry } from '../../../src/metadata/metadata-store.ts';
import { FreshSources } from '../../../src/store/fresh-sources.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const entry = (key: string, revision: number): Entry => ({ key, value: new Uint8Array(), revision: BigInt(revision) });

describe('FreshSources', () => {
  let clock: FakeClock;
  let fresh: FreshSources;

  beforeEach(() => {
    clock = new FakeClock();
    fresh = new FreshSources(clock);
  });

  test('keeps all sources of an object since its first one, as of the last', () => {
    const [first, second, third] = [entry('a', 7), entry('b', 9), entry('c', 8)];
    fresh.put('x', first, true);
    fresh.put('x', second, false);
    fresh.put('x', third, false);
    expect(fresh.listingOf('x')).toEqual({ entries: [first, second, third], revision: 9n });
    fresh.delete('x', 'b');
    expect(fresh.listingOf('x')).toEqual({ entries: [first, third], revision: 8n });
  });

  test('knows nothing of an object that had sources before', () => {
    fresh.put('x', entry('b', 2), false);
    expect(fresh.listingOf('x')).toBeUndefined();
  });

  test('knows nothing any more after a second, until the object comes up anew', async () => {
    fresh.put('x', entry('a', 1), true);
    await clock.advance(1_000);
    expect(fresh.listingOf('x')).toBeDefined();
    await clock.advance(1);
    expect(fresh.listingOf('x')).toBeUndefined();
    fresh.put('x', entry('b', 5), true);
    expect(fresh.listingOf('x')).toEqual({ entries: [entry('b', 5)], revision: 5n });
  });

  test('forgets an object of more than 64 sources, and the oldest of more than 16 objects', () => {
    for (let at = 0; at < 64; at++) fresh.put('many', entry(`s${at}`, at), at === 0);
    expect(fresh.listingOf('many')?.entries).toHaveLength(64);
    fresh.put('many', entry('one more', 64), false);
    expect(fresh.listingOf('many')).toBeUndefined();
    for (let at = 0; at < 17; at++) fresh.put(`object ${at}`, entry('a', at), true);
    expect(fresh.listingOf('object 0')).toBeUndefined();
    expect(fresh.listingOf('object 1')).toBeDefined();
    fresh.clear();
    expect(fresh.listingOf('object 1')).toBeUndefined();
  });
});
