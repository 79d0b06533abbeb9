import { Bitmap } from '../../src/swarm/bitmap.ts';
import { Scheduler } from '../../src/swarm/scheduler.ts';
import type { Flight } from '../../src/swarm/scheduler-holder.ts';
import type { SchedulerOptions } from '../../src/swarm/scheduler-options.ts';

export const schedulerPieceBytes: number = 1_000;

export function createScheduler(pieces: number, options: SchedulerOptions = {}, seed: number = 1): Scheduler {
  return new Scheduler({ pieces, pieceBytes: () => schedulerPieceBytes, seed, options });
}

export function bitmapOf(size: number, values: readonly number[]): Bitmap {
  const bitmap = new Bitmap(size);
  for (const value of values) bitmap.add(value);
  return bitmap;
}

/** The request that a test is sure of. */
export function theOne(flights: readonly Flight[]): Flight {
  const [flight] = flights;
  if (flight === undefined || flights.length > 1) throw new Error(`one request was expected, not ${flights.length}`);
  return flight;
}

/** Lets a request arrive and verifies its piece. */
export function complete(scheduler: Scheduler, flight: Flight | undefined, nowMs: number): void {
  if (flight === undefined) throw new Error('there is no request');
  const { ready } = scheduler.onArrived(flight, nowMs);
  if (ready !== undefined) scheduler.onVerified(ready.piece);
}

/** Looks again whenever the scheduler says so, until it asks. */
export function askWhenDue(
  scheduler: Scheduler,
  fromMs: number,
): { readonly nowMs: number; readonly flights: Flight[] } {
  let nowMs = fromMs;
  for (let looks = 0; looks < 100; looks++) {
    const flights = scheduler.nextRequests(nowMs);
    if (flights.length > 0) return { nowMs, flights };
    const { lookAgainMs } = scheduler;
    if (lookAgainMs === undefined || lookAgainMs <= nowMs)
      throw new Error(`at ${nowMs} it does not say when to look again`);
    nowMs = lookAgainMs;
  }
  throw new Error('it asks for nothing');
}
