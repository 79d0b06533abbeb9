import { describe, expect, test } from 'vitest';
import { sourceEvents, statusEvent, statusLines } from '../../../src/cli/status-view.ts';
import type { ObjectStatus, SourceStatus } from '../../../src/store/status.ts';

const MIB = 1024 * 1024;

function source(segment: string, changes: Partial<SourceStatus>): SourceStatus {
  return {
    segment,
    role: 'replica',
    isComplete: false,
    peerEndpoint: `${segment}:1`,
    state: 'serving',
    verifiedPieces: 0,
    pieces: 100,
    verifiedBytes: 0,
    followers: 0,
    bytesPerSecond: 0,
    sentBytesPerSecond: 0,
    sources: [],
    ...changes,
  };
}

const status: ObjectStatus = {
  name: 'a/model\x1b[2J',
  totalSize: 100 * MIB,
  sizeList: [100 * MIB],
  maxShardSize: 64 * MIB,
  verify: 'xxh64',
  sources: [
    source('gold', { role: 'gold', isComplete: true, verifiedBytes: 100 * MIB, followers: 2, sentBytesPerSecond: MIB }),
    source('b', {
      verifiedBytes: 49.9 * MIB,
      bytesPerSecond: 4 * MIB,
      sources: [
        { segment: 'gold', role: 'gold', bytes: 10 * MIB, bytesPerSecond: MIB },
        { segment: 'c', role: 'replica', bytes: 39 * MIB, bytesPerSecond: 3 * MIB },
      ],
    }),
    source('c', { state: 'unreachable' }),
  ],
  sourcesNotAsked: 4,
  bytesPerSecond: 4 * MIB,
  goldBytesPerSecond: MIB,
  goldBytes: 110 * MIB,
};

describe('statusLines()', () => {
  test('sums up, and shows who takes how much from whom, the fastest first', () => {
    expect(statusLines(status)).toEqual([
      'a/model\\u{1b}[2J: 100 MiB, verified by xxh64',
      '7 sources, 1 complete, 1 unreachable, 4 more not asked; 4 MiB/s in all, 25% of it from gold; gold has given 1.10 copies',
      'SOURCE       ROLE     HAS                        TAKES    GIVES    FOLLOWERS  STATE        ENDPOINT',
      'gold         gold     #################### 100%  -        1 MiB/s  2          serving      gold:1',
      'b            replica  #########-----------  49%  4 MiB/s  -        0          serving      b:1',
      '  from c     replica  39 MiB                     3 MiB/s',
      '  from gold  gold     10 MiB                     1 MiB/s',
      'c            replica  --------------------   0%  -        -        -          unreachable  c:1',
    ]);
  });

  test('puts many flows together, and says when nothing moves or nobody serves', () => {
    const flows = Array.from({ length: 9 }, (_, index) => {
      return { segment: `s${index}`, role: 'replica' as const, bytes: MIB, bytesPerSecond: 0 };
    });
    const still = { ...status, bytesPerSecond: 0, goldBytesPerSecond: 0, goldBytes: 0, sourcesNotAsked: 0 };
    const many = statusLines({ ...still, sources: [source('b', { sources: flows })] });
    expect(many[1]).toBe('1 source, 0 complete; nothing moves');
    expect(many.slice(4)).toHaveLength(5);
    expect(many.at(-1)).toMatch(/^ {2}from 5 more +5 MiB +-$/);
    expect(statusLines({ ...still, sources: [] })).toEqual([
      'a/model\\u{1b}[2J: 100 MiB, verified by xxh64',
      'Nobody serves it.',
    ]);
  });
});

describe('statusEvent()', () => {
  test('has the sums and every source with its flows', () => {
    const event = statusEvent(status);
    expect(event).toMatchObject({
      event: 'status',
      name: status.name,
      totalBytes: 100 * MIB,
      sources: 7,
      complete: 1,
      unreachable: 1,
      notAsked: 4,
      bytesPerSecond: 4 * MIB,
      goldBytesPerSecond: MIB,
      goldBytes: 110 * MIB,
    });
    const list = sourceEvents(status).map(({ event: _event, name: _name, totalBytes: _totalBytes, ...facts }) => facts);
    expect(event['list']).toEqual(list);
    expect(list[1]).toMatchObject({
      segment: 'b',
      bytesPerSecond: 4 * MIB,
      from: [
        { segment: 'gold', role: 'gold', bytes: 10 * MIB, bytesPerSecond: MIB },
        { segment: 'c', role: 'replica', bytes: 39 * MIB, bytesPerSecond: 3 * MIB },
      ],
    });
  });
});
