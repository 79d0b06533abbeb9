import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Entry, MetadataStore, WatchEvent } from '../../../src/metadata/metadata-store.ts';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { parseSourceKey, sourceKey, sourceRing } from '../../../src/store/record-keys.ts';
import { RingArc } from '../../../src/store/ring-arc.ts';
import { eventually } from '../../support/eventually.ts';
import { freshMemoryUri } from '../../support/test-store.ts';

const WRITES_MAX = 100;
let metadata: MetadataStore;

beforeEach(async () => {
  metadata = await openMetadataStore(freshMemoryUri());
});
afterEach(() => metadata.close());

/** What an arc shows, kept as its owner would. */
class View {
  readonly segments = new Set<string>();
  readonly listedAtOnce: number[] = [];
  events = 0;

  readonly onListed = (entries: readonly Entry[]): void => {
    this.segments.clear();
    this.listedAtOnce.push(entries.length);
    for (const { key } of entries) this.segments.add(parseSourceKey(key)?.segment ?? '');
  };

  readonly onEvents = (events: readonly WatchEvent[]): void => {
    this.events += events.length;
    for (const event of events) {
      if (event.kind === 'put') this.segments.add(parseSourceKey(event.entry.key)?.segment ?? '');
      else this.segments.delete(parseSourceKey(event.key)?.segment ?? '');
    }
  };
}

async function openArc(isWhole = false): Promise<{ readonly arc: RingArc; readonly view: View }> {
  const view = new View();
  const { onListed, onEvents } = view;
  return {
    view,
    arc: await RingArc.open({ metadata, ring: sourceRing('x'), isWhole, signal: undefined, onListed, onEvents }),
  };
}

async function change(kind: 'put' | 'delete', from: number, to: number): Promise<void> {
  const keys = Array.from({ length: to - from }, (_, at) => sourceKey('x', `r${from + at}`, 'replica'));
  for (let at = 0; at < keys.length; at += WRITES_MAX) {
    const value = Buffer.from('{}');
    await metadata.commit(
      [],
      keys.slice(at, at + WRITES_MAX).map((key) => (kind === 'put' ? { kind, key, value } : { kind, key })),
    );
  }
}

async function putGold(): Promise<void> {
  await metadata.commit([], [{ kind: 'put', key: sourceKey('x', 'gold', 'gold'), value: Buffer.from('{}') }]);
}

describe('RingArc', () => {
  test('shows all sources while they are few', async () => {
    await putGold();
    await change('put', 0, 200);
    const { arc, view } = await openArc();
    await using _ = arc;
    expect(view.segments.size).toBe(201);
    await change('put', 200, 210);
    await change('delete', 0, 5);
    await eventually('the joins and leaves', () => view.segments.size === 206);
    expect(view.listedAtOnce).toEqual([201]);
  });

  test('shows the gold source and some hundred replicas of thousands, others to each', async () => {
    await putGold();
    await change('put', 0, 5_000);
    const views: View[] = [];
    for (let count = 0; count < 8; count++) {
      const { arc, view } = await openArc();
      views.push(view);
      await arc.close();
    }
    for (const view of views) {
      expect(view.segments.has('gold')).toBe(true);
      expect(view.segments.size).toBeGreaterThan(32);
      expect(Math.max(...view.listedAtOnce)).toBeLessThanOrEqual(258);
    }
    expect(new Set(views.map(({ segments }) => [...segments].sort().join(' '))).size).toBeGreaterThan(3);
  });

  test('hears of a part of the joins only', async () => {
    await putGold();
    await change('put', 0, 5_000);
    const { arc, view } = await openArc();
    await using _ = arc;
    const before = view.segments.size;
    await change('put', 5_000, 6_000);
    await putGold(); // the last change: when it is heard, so is all before
    await eventually('the last change', () => view.events > 0);
    expect(view.events).toBeLessThan(200);
    expect(view.segments.size).toBeGreaterThan(before);
  });

  test('looks at less of the ring when many join, and at more when they leave', async () => {
    await putGold();
    const { arc, view } = await openArc();
    await using _ = arc;
    await change('put', 0, 3_000);
    await eventually('a shorter arc', () => view.segments.size > 32 && view.segments.size <= 257);
    await change('delete', 0, 2_990);
    await eventually('the whole ring again', () => view.segments.size === 11);
    expect(view.segments.has('gold')).toBe(true);
  });

  test('shows all of thousands when asked to', async () => {
    await putGold();
    await change('put', 0, 3_000);
    const { arc, view } = await openArc(true);
    await using _ = arc;
    await change('put', 3_000, 3_001);
    await eventually('the last join', () => view.segments.size === 3_002);
  });
});
