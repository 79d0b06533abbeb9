import { describe, expect, test } from 'vitest';
import { Bitmap } from '../../../src/swarm/bitmap.ts';
import { arrivalMs, meanSpeed, soonest, worthwhileCopyMs } from '../../../src/swarm/holder-choice.ts';
import { Flight, Holder } from '../../../src/swarm/scheduler-holder.ts';
import { schedulerDefaults } from '../../../src/swarm/scheduler-options.ts';

const pieceBytes = 1_000;

function flightTo(holder: Holder, parts: { piece?: number; nowMs?: number; expectedMs?: number } = {}): Flight {
  const { piece = 0, nowMs = 0, expectedMs = 0 } = parts;
  return new Flight({ holder, piece, nowMs, expectedMs, refuseWhen: { queuedBytes: 0, sentWithinMs: 0 } });
}

/** @param pieceMs - Time in which it has sent one piece; absent: it was never asked. */
function createHolder(id: string, pieceMs?: number, inFlightPieces = 0): Holder {
  const holder = new Holder(id, 'replica', Bitmap.full(10), schedulerDefaults);
  if (pieceMs !== undefined) holder.arrived(flightTo(holder), pieceBytes, pieceMs);
  for (let piece = 0; piece < inFlightPieces; piece++) holder.begin(flightTo(holder, { piece }), pieceBytes);
  return holder;
}

describe('meanSpeed()', () => {
  test('counts only those that were measured', () => {
    expect(meanSpeed([createHolder('a', 10), createHolder('b', 20), createHolder('c')])).toBe(75);
    expect(meanSpeed([createHolder('a')])).toBeUndefined();
  });
});

describe('arrivalMs()', () => {
  test('counts what is in flight already', () => {
    expect(arrivalMs(createHolder('a', 10, 3), pieceBytes, undefined)).toBe(40);
  });

  test('takes a holder that was not measured for as fast as the mean', () => {
    expect(arrivalMs(createHolder('a'), pieceBytes, 50)).toBe(20);
  });
});

describe('worthwhileCopyMs()', () => {
  test('asks for more than a little less than what is left, and grows once a piece is late', () => {
    const flight = flightTo(createHolder('a'), { expectedMs: 300 });
    expect(worthwhileCopyMs([flight], 0)).toBeCloseTo(300 / 1.5 - 20);
    expect(worthwhileCopyMs([flight], 150)).toBeCloseTo(150 / 1.5 - 20);
    expect(worthwhileCopyMs([flight], 600)).toBeCloseTo(600 / 1.5 - 20);
  });
});

describe('soonest()', () => {
  test('takes who would be done first within the limit, or nobody', () => {
    const holders = [createHolder('busy', 10, 5), createHolder('slow', 40), createHolder('far', 70)];
    expect(soonest(holders, pieceBytes, undefined, 1_000)?.id).toBe('slow');
    expect(soonest(holders, pieceBytes, undefined, 40)).toBeUndefined();
  });
});
