import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Gathering } from '../../../src/swarm/gathering.ts';
import { seededRandom } from '../../../src/swarm/random.ts';
import { eventually } from '../../support/eventually.ts';

const neighboursMax = 4;
const place = (segment: string, peerEndpoint = `${segment}:1`) => ({ segment, peerEndpoint });

describe('Gathering', () => {
  /** Early streams that are open, by endpoint; calling one ends it, as taken over or not. */
  let open: Map<string, (isTaken: boolean) => void>;
  let calls: string[];
  let prepared: string[];
  let gathering: Gathering;

  beforeEach(() => {
    open = new Map();
    calls = [];
    prepared = [];
    gathering = new Gathering({
      name: 'x',
      peers: {
        followEarly: ({ peerEndpoint }, { name }, { signal }) => {
          calls.push(`${name} ${peerEndpoint}`);
          return new Promise((resolve) => {
            const end = (isTaken: boolean): void => {
              open.delete(peerEndpoint);
              resolve(isTaken);
            };
            open.set(peerEndpoint, end);
            signal.addEventListener('abort', () => end(false));
          });
        },
      },
      prepare: (segment) => {
        prepared.push(segment);
        return Promise.reject(new Error('it is of no consequence'));
      },
      neighboursMax,
      random: seededRandom(3),
    });
  });
  afterEach(() => gathering.close());

  test('meets who waits, once, and again when it waits elsewhere', () => {
    gathering.add(place('a'));
    gathering.add(place('a'));
    expect(calls).toEqual(['x a:1']);
    expect(prepared).toEqual(['a']);
    gathering.add(place('a', 'a:2'));
    expect([...open.keys()]).toEqual(['a:2']);
    gathering.remove('a');
    expect(open.size).toBe(0);
    expect(gathering.segments).toEqual([]);
  });

  test('meets a few of many, and another when one leaves', () => {
    for (let at = 0; at < 50; at++) gathering.add(place(`s${at}`));
    expect(open.size).toBe(neighboursMax);
    for (const endpoint of [...open.keys()]) gathering.remove(endpoint.slice(0, -2));
    expect(open.size).toBe(neighboursMax);
    expect(gathering.segments).toHaveLength(50 - neighboursMax);
  });

  test('tries again when a stream has ended, and leaves alone one that was taken over', async () => {
    gathering.add(place('a'));
    gathering.add(place('b'));
    open.get('a:1')?.(true);
    open.get('b:1')?.(false);
    await eventually('the second try', () => open.has('b:1'));
    expect(calls).toEqual(['x a:1', 'x b:1', 'x b:1']);
  });

  test('close() ends all streams and all tries', async () => {
    gathering.add(place('a'));
    gathering.add(place('b'));
    open.get('b:1')?.(false); // it waits before it tries again
    await gathering.close();
    expect(open.size).toBe(0);
    expect(calls).toHaveLength(2);
  });
});
