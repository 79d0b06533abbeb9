/**
 * Binds the C library through koffi. The other files of this folder declare the calls that they
 * need with {@link libcFunction}; nothing outside this folder speaks FFI.
 *
 * Loading is lazy: on a system that is not Linux, or where koffi has no prebuilt binary, importing
 * the package works and the first call says what is missing.
 *
 * Pointers and sizes are declared `uintptr_t`/`size_t` and passed as numbers: user addresses on x86-64 and
 * arm64 are below 2^52, so a double holds them exactly and costs less than a bigint.
 */
import { createRequire } from 'node:module';
import os from 'node:os';
import { ErrorCode, P2PStoreError } from '../core/errors.ts';

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

const require = createRequire(import.meta.url);
let loaded: { readonly koffi: Koffi; readonly libc: Library } | undefined;

function load(): { readonly koffi: Koffi; readonly libc: Library } {
  if (loaded !== undefined) return loaded;
  if (process.platform !== 'linux') {
    throw new P2PStoreError(
      ErrorCode.Unsupported,
      `Cannot use raw memory: it needs Linux, this is ${process.platform}`,
      { feature: 'raw memory' },
    );
  }
  try {
    const koffi = require('koffi') as Koffi;
    loaded = { koffi, libc: koffi.load('libc.so.6') };
    return loaded;
  } catch (cause) {
    throw new P2PStoreError(
      ErrorCode.Unsupported,
      'Cannot use raw memory: the FFI library koffi or the C library did not load',
      { feature: 'raw memory' },
      { cause },
    );
  }
}

export function koffi(): Koffi {
  return load().koffi;
}

/** A shared library as koffi loads it. */
export type NativeLibrary = Library;

const libc = (): Library => load().libc;

/** Declares one function of a library, bound at its first call. */
export function libraryFunction<A extends unknown[], R>(library: () => Library, prototype: string): (...args: A) => R {
  let bound: ((...args: A) => R) | undefined;
  return (...args) => {
    bound ??= library().func(prototype) as unknown as (...args: A) => R;
    return bound(...args);
  };
}

/** Declares one function of the C library, bound at its first call. */
export function libcFunction<A extends unknown[], R>(prototype: string): (...args: A) => R {
  return libraryFunction(libc, prototype);
}

/** What a call on another thread left behind. */
export interface AsyncCallOutcome<R> {
  readonly result: R;
  /** That thread's `errno` after the call; means something only when `result` says failure. */
  readonly errno: number;
}

/** {@link libcFunction} that runs on a thread of libuv's pool: for calls that may take long. */
export function libcAsyncFunction<A extends unknown[], R>(
  prototype: string,
): (...args: A) => Promise<AsyncCallOutcome<R>> {
  return libraryAsyncFunction(libc, prototype);
}

/** {@link libraryFunction} that runs on a thread of libuv's pool. */
export function libraryAsyncFunction<A extends unknown[], R>(
  library: () => Library,
  prototype: string,
): (...args: A) => Promise<AsyncCallOutcome<R>> {
  let bound: ReturnType<Library['func']> | undefined;
  return (...args) => {
    bound ??= library().func(prototype);
    const callAsync = bound.async;
    return new Promise((resolve, reject) => {
      callAsync(...args, (failure: unknown, result: R) => {
        if (failure) reject(failure);
        else resolve({ result, errno: errno() }); // koffi hands the pool thread's errno to this callback only
      });
    });
  };
}

/** The thread's `errno`. Read it at once: any later call, even of the runtime, may change it. */
export function errno(): number {
  return load().koffi.errno();
}

const errnoNames = new Map<number, string>(Object.entries(os.constants.errno).map(([name, value]) => [value, name]));

export function errnoName(value: number): string {
  return errnoNames.get(value) ?? `errno ${value}`;
}

/** Translates a failed call into our error; `value` is the `errno` read right after it. */
export function systemCallError(call: string, value: number): P2PStoreError<'P2P_SYSTEM_CALL_FAILED'> {
  return new P2PStoreError(ErrorCode.SystemCallFailed, `Cannot ${call}: the system answered ${errnoName(value)}`, {
    call,
    errno: value,
    errnoName: errnoName(value),
  });
}
