import { describe, expect, test } from 'vitest';
import type { ObjectLayout } from '../../../src/swarm/layout.ts';
import { Neighbours } from '../../../src/swarm/neighbours.ts';
import type { PeerClient } from '../../../src/swarm/peer-client.ts';
import { seededRandom } from '../../../src/swarm/random.ts';
import type { SourceInfo } from '../../../src/swarm/source-feed.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const layout: ObjectLayout = {
  name: 'model',
  generation: 'g',
  sizeList: [16],
  totalSize: 16,
  maxShardSize: 16,
  pieceSizeBytes: 16,
  digestAlgorithm: 'xxh64',
};
const neighboursMax = 8;

/** Sources that say nothing, and that may come and go. */
class Swarm {
  readonly listed = new Map<string, SourceInfo>();
  readonly joined: string[] = [];
  readonly left: string[] = [];
  /** Whose control connections are open. */
  readonly followed = new Set<string>();
  readonly neighbours: Neighbours;
  #changed: () => void = () => {};

  constructor() {
    const peers: Pick<PeerClient, 'follow'> = {
      follow: ({ peerEndpoint: endpoint }, _object, { signal }) => {
        this.followed.add(endpoint);
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            this.followed.delete(endpoint);
            reject(signal.reason);
          });
        });
      },
    };
    this.neighbours = new Neighbours({
      feed: {
        current: () => [...this.listed.values()],
        onChange: (listener) => {
          this.#changed = listener;
          return () => {};
        },
      },
      layout,
      peers,
      wantsDigests: () => false,
      neighboursMax,
      random: seededRandom(5),
      clock: new FakeClock(),
      events: {
        onJoined: ({ segment }) => this.joined.push(segment),
        onLeft: ({ segment }) => this.left.push(segment),
        onAvailability: () => {},
        onLost: () => {},
      },
    });
    this.neighbours.start();
  }

  change(edit: (listed: Map<string, SourceInfo>) => void): void {
    edit(this.listed);
    this.#changed();
  }

  join(segment: string, role: 'gold' | 'replica' = 'replica'): void {
    const ranges = [{ address: 4_096, lengthBytes: 16 }];
    const record = { segment, role, isComplete: false, peerEndpoint: segment, ranges, generation: 'g' };
    this.change((listed) => listed.set(segment, record));
  }

  get replicas(): string[] {
    return this.neighbours
      .all()
      .filter(({ role }) => role === 'replica')
      .map(({ segment }) => segment);
  }
}

describe('Neighbours', () => {
  test('follows the gold source and a bounded choice in which late replicas have their part', () => {
    const swarm = new Swarm();
    swarm.join('gold', 'gold');
    for (let at = 0; at < 200; at++) {
      swarm.join(`r${at}`);
      expect(swarm.replicas.length).toBe(Math.min(at + 1, neighboursMax));
    }
    expect(swarm.neighbours.get('gold')).toBeDefined();
    const late = swarm.replicas.filter((segment) => Number(segment.slice(1)) >= 50);
    expect(late.length).toBeGreaterThanOrEqual(3); // 6 expected
    expect(swarm.joined.filter((segment) => !swarm.left.includes(segment)).sort()).toEqual(
      ['gold', ...swarm.replicas].sort(),
    );
    expect([...swarm.followed].sort()).toEqual(['gold', ...swarm.replicas].sort());
    swarm.neighbours.close();
    expect(swarm.followed.size).toBe(0);
  });

  test('takes others in the place of those who leave, and some more when it is widened', () => {
    const swarm = new Swarm();
    for (let at = 0; at < 30; at++) swarm.join(`r${at}`);
    const gone = swarm.replicas.slice(0, 3);
    swarm.change((listed) => {
      for (const segment of gone) listed.delete(segment);
    });
    expect(swarm.replicas).toHaveLength(neighboursMax);
    expect(swarm.replicas.filter((segment) => gone.includes(segment))).toEqual([]);
    swarm.neighbours.widen(4);
    expect(swarm.replicas).toHaveLength(neighboursMax + 4);
    swarm.neighbours.close();
  });
});
