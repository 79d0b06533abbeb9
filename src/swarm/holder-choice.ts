/** Compares holders by when a piece would be here. */
import type { Flight, Holder } from './scheduler-holder.ts';

/** Without any measurement. */
const unknownMs = 1_000;
/** A copy costs somebody's link, so it must be worth it: sooner by this factor, and by this much, in ms. */
const copyFactor = 1.5;
const copyGainMs = 20;

/** Of the holders whose speed has been measured, in bytes per ms. */
export function meanSpeed(holders: Iterable<Holder>): number | undefined {
  let total = 0;
  let measured = 0;
  for (const { speed } of holders) {
    if (speed === undefined) continue;
    total += speed;
    measured++;
  }
  return measured === 0 ? undefined : total / measured;
}

/** In how many ms one piece more should be here. A holder that was not measured is taken to be as fast as the mean. */
export function arrivalMs(holder: Holder, bytes: number, mean: number | undefined): number {
  const speed = holder.speed ?? mean;
  return speed === undefined ? unknownMs : (holder.inFlightBytes + bytes) / speed;
}

/** In how many ms a copy would have to be here to be worth asking for. What is late will probably take as long again. */
export function worthwhileCopyMs(flights: Iterable<Flight>, nowMs: number): number {
  let bestMs = Number.POSITIVE_INFINITY;
  for (const { requestedMs, expectedMs } of flights) {
    const ageMs = nowMs - requestedMs;
    bestMs = Math.min(bestMs, ageMs < expectedMs ? expectedMs - ageMs : ageMs);
  }
  return bestMs / copyFactor - copyGainMs;
}

/** @returns undefined when none would have the piece here within `limitMs`. */
export function soonest(
  holders: Iterable<Holder>,
  bytes: number,
  mean: number | undefined,
  limitMs: number,
): Holder | undefined {
  let best: Holder | undefined;
  let bestMs = limitMs;
  for (const holder of holders) {
    const ms = arrivalMs(holder, bytes, mean);
    if (ms >= bestMs) continue;
    best = holder;
    bestMs = ms;
  }
  return best;
}
