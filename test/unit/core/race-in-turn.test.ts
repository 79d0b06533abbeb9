import { describe, expect, test } from 'vitest';
import { raceInTurn } from '../../../src/core/race-in-turn.ts';

const never = new AbortController().signal;
const HOUR_MS = 3_600_000;

/** Ends only when it is told that another one was first. */
function hang(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

describe('raceInTurn', () => {
  test('leaves the others alone while the first one answers', async () => {
    const tried: string[] = [];
    const attempt = (candidate: string): Promise<string> => {
      tried.push(candidate);
      return Promise.resolve(candidate);
    };
    const options = { delayMs: HOUR_MS, signal: never, discard: () => {} };
    expect(await raceInTurn(['a', 'b'], attempt, options)).toBe('a');
    expect(tried).toEqual(['a']);
  });

  test('goes on at once after a failure, and after a while when one is silent, which is told then', async () => {
    const signals = new Map<string, AbortSignal>();
    const attempt = (candidate: string, signal: AbortSignal): Promise<string> => {
      signals.set(candidate, signal);
      if (candidate === 'refused') return Promise.reject(new Error('refused'));
      return candidate === 'silent' ? hang(signal) : Promise.resolve(candidate);
    };
    const options = { signal: never, discard: () => {} };
    expect(await raceInTurn(['refused', 'good'], attempt, { ...options, delayMs: HOUR_MS })).toBe('good');
    expect(await raceInTurn(['silent', 'good'], attempt, { ...options, delayMs: 1 })).toBe('good');
    expect(signals.get('silent')?.aborted).toBe(true);
  });

  test('gives back what comes after another one has won', async () => {
    let resolve: (result: string) => void = () => {};
    const promise = new Promise<string>((onResolved) => {
      resolve = onResolved;
    });
    const discarded: string[] = [];
    const attempt = (candidate: string): Promise<string> => (candidate === 'late' ? promise : Promise.resolve('good'));
    const discard = (result: string): void => void discarded.push(result);
    expect(await raceInTurn(['late', 'other'], attempt, { delayMs: 1, signal: never, discard })).toBe('good');
    resolve('late');
    await promise;
    expect(discarded).toEqual(['late']);
  });

  test('fails with all failures when none answers, and ends when it is aborted', async () => {
    const fail = (candidate: string): Promise<string> => Promise.reject(new Error(candidate));
    const options = { delayMs: HOUR_MS, discard: () => {} };
    await expect(raceInTurn(['a', 'b'], fail, { ...options, signal: never })).rejects.toMatchObject({
      errors: [new Error('a'), new Error('b')],
    });
    const stop = new AbortController();
    const running = raceInTurn(['a', 'b'], (_candidate, signal) => hang(signal), { ...options, signal: stop.signal });
    stop.abort(new Error('stopped'));
    await expect(running).rejects.toMatchObject({ errors: [new Error('stopped'), new Error('stopped')] });
  });
});
