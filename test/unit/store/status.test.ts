import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import type { FoundObject } from '../../../src/store/object-reader.ts';
import { readStatus, type StatusParts } from '../../../src/store/status.ts';
import {
  type GetStatusResponse,
  GetStatusResponseSchema,
  State,
} from '../../../src/swarm/gen/p2pstore/peer/v1/peer_pb.ts';

const generation = '0123456789abcdef0123456789abcdef';
const never = new AbortController().signal;

function found(segments: readonly string[]): FoundObject {
  return {
    object: {
      version: 1,
      generation,
      sizes: [1_000],
      maxShardSizeBytes: 1_024,
      pieceSizeBytes: 256,
      digest: { algorithm: 'xxh64' },
    },
    sources: segments.map((segment) => ({
      segment,
      source: {
        version: 1,
        generation,
        role: segment === 'gold' ? 'gold' : 'replica',
        isComplete: segment === 'gold' || segment === 'dead',
        peerEndpoint: segment,
        addresses: [4_096],
        sizes: [1_000],
      },
    })),
  };
}

type Answer = Parameters<typeof create<typeof GetStatusResponseSchema>>[1];

/** Stores that answer what `answers` says; the others are dead. */
function partsOf(
  segments: readonly string[],
  answer: (segment: string) => Answer | undefined,
): StatusParts & { readonly asked: string[]; readonly most: () => number } {
  const asked: string[] = [];
  let [now, most] = [0, 0];
  return {
    asked,
    most: () => most,
    reader: { find: () => Promise.resolve(found(segments)) },
    peerClient: {
      async getStatus({ peerEndpoint: endpoint }): Promise<GetStatusResponse> {
        asked.push(endpoint);
        now += 1;
        most = Math.max(most, now);
        await new Promise(setImmediate);
        now -= 1;
        const said = answer(endpoint);
        if (said === undefined) throw new Error('no answer');
        return create(GetStatusResponseSchema, {
          isServed: true,
          generation,
          state: State.SERVING,
          pieces: 4,
          ...said,
        });
      },
    },
  };
}

describe('readStatus()', () => {
  test('adds up who serves whom, and how much of it comes from the gold source', async () => {
    const flow = (segment: string, role: string, bytes: number, bytesPerSecond: number) => {
      return { segment, role, bytes: BigInt(bytes), bytesPerSecond };
    };
    const answers: Readonly<Record<string, Answer>> = {
      gold: { verifiedPieces: 4, followers: 2 },
      b: { verifiedPieces: 2, sources: [flow('gold', 'gold', 400, 10), flow('c', 'replica', 100, 30)] },
      c: { verifiedPieces: 1, sources: [flow('gold', 'gold', 250, 20)] },
      old: { verifiedPieces: 4, generation: 'another' },
    };
    const parts = partsOf(['old', 'b', 'dead', 'c', 'gold'], (segment) => answers[segment]);
    const status = await readStatus(parts, 'x', never);
    expect(status).toMatchObject({ bytesPerSecond: 60, goldBytesPerSecond: 30, goldBytes: 650, sourcesNotAsked: 0 });
    expect(status.sources).toMatchObject([
      { segment: 'gold', state: 'serving', verifiedBytes: 1_000, followers: 2, sentBytesPerSecond: 30 },
      { segment: 'b', state: 'serving', verifiedBytes: 500, sentBytesPerSecond: 0, sources: [{ bytes: 400 }, {}] },
      { segment: 'c', state: 'serving', verifiedBytes: 250, sentBytesPerSecond: 30 },
      { segment: 'dead', state: 'unreachable', verifiedBytes: 1_000, verifiedPieces: 0 },
      { segment: 'old', state: 'unreachable', verifiedBytes: 0, verifiedPieces: 0 },
    ]);
  });

  test('asks a bounded number of a large swarm, a few at a time, the gold source among them', async () => {
    const segments = [...Array.from({ length: 300 }, (_, index) => `a${index}`), 'gold'];
    const parts = partsOf(segments, () => ({ verifiedPieces: 4 }));
    const status = await readStatus(parts, 'x', never);
    expect(parts.asked).toHaveLength(256);
    expect(parts.asked).toContain('gold');
    expect(parts.most()).toBeLessThanOrEqual(16);
    expect(status.sources).toHaveLength(256);
    expect(status.sourcesNotAsked).toBe(301 - 256);
  });
});
