import { sleep } from './abort.ts';

export interface TurnOptions<T> {
  /** How long a candidate has the field for itself before the next one is tried as well. */
  readonly delayMs: number;
  readonly signal: AbortSignal;
  /** Takes back what came after another had won. */
  readonly discard: (late: T) => void;
}

/**
 * Tries the first candidate, the next one as soon as it has failed or has taken long, and so on. The first result counts;
 * the signals of all other attempts fire then.
 *
 * @param candidates - At least one.
 * @throws AggregateError All have failed; `errors` says how, in their order. An abort is such a failure.
 */
export async function raceInTurn<C, T>(
  candidates: readonly C[],
  attempt: (candidate: C, signal: AbortSignal) => Promise<T>,
  { delayMs, signal, discard }: TurnOptions<T>,
): Promise<T> {
  const won = new AbortController();
  const over = AbortSignal.any([won.signal, signal]);
  const run = async (candidate: C, turn: Promise<void>): Promise<T> => {
    await turn;
    over.throwIfAborted();
    const result = await attempt(candidate, over);
    if (over.aborted) discard(result);
    over.throwIfAborted();
    won.abort(new Error('another one was first'));
    return result;
  };
  let turn = Promise.resolve();
  const attempts = candidates.map((candidate) => {
    const begun = turn;
    const running = run(candidate, begun);
    const patience = begun.then(() => sleep(delayMs, over));
    turn = Promise.race([running, patience]).then(ignore, ignore);
    patience.catch(ignore); // the loser of the race
    return running;
  });
  try {
    return await Promise.any(attempts);
  } finally {
    won.abort(); // also ends the waiting of those that had their turn
  }
}

function ignore(): void {}
