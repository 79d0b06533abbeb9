/** Loads libibverbs when it is first asked for, and translates the three ways in which its functions fail. */

import type { AsyncCallOutcome } from './libc.ts';
import { errno, koffi, libraryAsyncFunction, libraryFunction, type NativeLibrary, systemCallError } from './libc.ts';

const LIBRARY = 'libibverbs.so.1';

let loaded: NativeLibrary | undefined;

function load(): NativeLibrary {
  loaded ??= koffi().load(LIBRARY);
  return loaded;
}

/** Why the library cannot be used; undefined when it can. */
export function verbsLibraryProblem(): string | undefined {
  try {
    load();
    return undefined;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return `${LIBRARY} (rdma-core) did not load: ${why}`;
  }
}

/** Whether the library that is installed has a function; older ones lack some. */
export function hasVerbsFunction(prototype: string): boolean {
  try {
    load().func(prototype);
    return true;
  } catch {
    return false;
  }
}

export function verbsFunction<A extends unknown[], R>(prototype: string): (...args: A) => R {
  return libraryFunction(load, prototype);
}

export function verbsAsyncFunction<A extends unknown[], R>(
  prototype: string,
): (...args: A) => Promise<AsyncCallOutcome<R>> {
  return libraryAsyncFunction(load, prototype);
}

/** Checks a call that returns a pointer, or NULL and `errno`. */
export function requirePointer(pointer: number, call: string): number {
  if (pointer === 0) throw systemCallError(call, errno());
  return pointer;
}

/** Checks a call that returns 0, a positive error number, or -1 and `errno`. */
export function requireZero(result: number, call: string): void {
  if (result !== 0) throw systemCallError(call, result > 0 ? result : errno());
}

/** Checks the same call where it ran on another thread. */
export function requireZeroOutcome({ result, errno: value }: AsyncCallOutcome<number>, call: string): void {
  if (result !== 0) throw systemCallError(call, result > 0 ? result : value);
}
