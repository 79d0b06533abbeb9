/** Sizes, rates and times as people write and read them. */
import { ErrorCode, P2PStoreError } from '../core/errors.ts';

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ...['k', 'm', 'g', 't'].flatMap((letter, index): [string, number][] => [
    [letter, 1024 ** (index + 1)],
    [`${letter}i`, 1024 ** (index + 1)],
    [`${letter}ib`, 1024 ** (index + 1)],
    [`${letter}b`, 1000 ** (index + 1)],
  ]),
]);

const DURATION_UNITS_MS: ReadonlyMap<string, number> = new Map([
  ['', 1000],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** Longest delay of a timer: 2^31 - 1 ms, almost 25 days. */
const DURATION_MS_MAX = 2 ** 31 - 1;

function invalid(argument: string, text: string, wanted: string): P2PStoreError {
  return new P2PStoreError(ErrorCode.InvalidArgument, `Cannot read ${argument} "${text}": wanted ${wanted}`, {
    argument,
  });
}

function split(text: string): { readonly value: number; readonly unit: string } | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  if (match === null) return undefined;
  return { value: Number(match[1]), unit: (match[2] ?? '').toLowerCase() };
}

/**
 * Reads a size such as `64MiB`, `1.5g` or `4096`.
 *
 * `K`, `Ki` and `KiB` count in 1024s, `KB` in 1000s, as the GNU tools do; case does not matter.
 *
 * @param argument - What the text was given for; part of the message.
 * @returns Whole bytes, below 2^53.
 * @throws P2P_INVALID_ARGUMENT Not a size, or not a whole number of bytes.
 */
export function parseSizeBytes(text: string, argument: string): number {
  const parts = split(text);
  const unitBytes = parts === undefined ? undefined : SIZE_UNITS.get(parts.unit);
  const sizeBytes = parts === undefined || unitBytes === undefined ? Number.NaN : parts.value * unitBytes;
  if (!Number.isSafeInteger(sizeBytes)) throw invalid(argument, text, 'a size such as 64MiB, 1GiB or 4096');
  return sizeBytes;
}

/**
 * Reads a rate: bytes a second as a size with or without `/s`, such as `100MB/s`, `1GiB/s`, `50m`; or bits a second, such as
 * `800Mbit/s`, `10Gbit` or `10Gbps`, which count in 1000s.
 *
 * @returns Bytes a second, rounded, at least 1 and below 2^53.
 * @throws P2P_INVALID_ARGUMENT Not a rate, or less than one byte a second.
 */
export function parseRateBytesPerSecond(text: string, argument: string): number {
  const parts = split(text.trim().replace(/\/s$/i, ''));
  const unitBytes = parts === undefined ? undefined : rateUnitBytes(parts.unit);
  const bytes = parts === undefined || unitBytes === undefined ? Number.NaN : Math.round(parts.value * unitBytes);
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw invalid(argument, text, 'a rate above 0 such as 100MB/s, 1GiB/s or 800Mbit/s');
  }
  return bytes;
}

function rateUnitBytes(unit: string): number | undefined {
  const [, prefix] = /^([kmgt]?)(?:bits?|bps)$/.exec(unit) ?? [];
  return prefix === undefined ? SIZE_UNITS.get(unit) : 1000 ** ['', 'k', 'm', 'g', 't'].indexOf(prefix) / 8;
}

/**
 * Reads a duration such as `60s`, `5m`, `250ms`, `1h`; a bare number counts seconds.
 *
 * @returns Milliseconds in [1, 2^31).
 * @throws P2P_INVALID_ARGUMENT Not a duration, or out of range.
 */
export function parseDurationMs(text: string, argument: string): number {
  const parts = split(text);
  const unitMs = parts === undefined ? undefined : DURATION_UNITS_MS.get(parts.unit);
  const durationMs = parts === undefined || unitMs === undefined ? Number.NaN : Math.round(parts.value * unitMs);
  if (!(durationMs >= 1 && durationMs <= DURATION_MS_MAX)) {
    throw invalid(argument, text, 'a duration such as 60s, 5m or 1h, at most 24 days');
  }
  return durationMs;
}

/** `1536` as `1.5 KiB`: three significant digits, units of 1024. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let index = 0;
  while (value >= 999.5 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  if (index === 0) return `${Math.round(value)} B`;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${units[index]}`;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** `0.42 s`, `12.3 s`, `4m05s`, `2h03m`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 59.95) return `${seconds < 9.995 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}m${String(whole % 60).padStart(2, '0')}s`;
  return `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, '0')}m`;
}

/** `1 object`, `3 objects`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
