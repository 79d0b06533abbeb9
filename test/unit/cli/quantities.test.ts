import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatRate,
  formatSeconds,
  parseDurationMs,
  parseRateBytesPerSecond,
  parseSizeBytes,
} from '../../../src/cli/quantities.ts';

const invalid = (argument: string) => expect.objectContaining({ code: 'P2P_INVALID_ARGUMENT', context: { argument } });

describe('parseSizeBytes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['1b', 1],
    ['64MiB', 64 * 1024 ** 2],
    ['64m', 64 * 1024 ** 2],
    ['64 Mi', 64 * 1024 ** 2],
    ['1.5g', 1.5 * 1024 ** 3],
    ['1kB', 1000],
    ['2GB', 2_000_000_000],
    ['1TiB', 1024 ** 4],
  ])('reads %s as %d bytes', (text, bytes) => {
    expect(parseSizeBytes(text, '--size')).toBe(bytes);
  });

  test.each(['', 'MiB', '-1', '1.5', '1e3', '0x10', '1PiBs', '64 MiB!', '99999999TiB', 'NaN', '1,5g'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseSizeBytes(text, '--size')).toThrow(invalid('--size'));
    },
  );
});

describe('parseDurationMs', () => {
  test.each([
    ['250ms', 250],
    ['60s', 60_000],
    ['60', 60_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['2h', 7_200_000],
  ])('reads %s as %d ms', (text, durationMs) => {
    expect(parseDurationMs(text, '--timeout')).toBe(durationMs);
  });

  test.each(['', '0', '0.1ms', '-5s', '5 minutes', '600h', 's'])('refuses "%s"', (text) => {
    expect(() => parseDurationMs(text, '--timeout')).toThrow(invalid('--timeout'));
  });
});

describe('parseRateBytesPerSecond', () => {
  test.each([
    ['4096', 4096],
    ['100MB/s', 100_000_000],
    ['1GiB/s', 1024 ** 3],
    ['1.5m', 1.5 * 1024 ** 2],
    ['800Mbit/s', 100_000_000],
    ['10 Gbit', 1_250_000_000],
    ['2.5Gbps', 312_500_000],
    ['9bits/s', 1],
  ])('reads %s as %d bytes a second', (text, bytes) => {
    expect(parseRateBytesPerSecond(text, '--max-upload')).toBe(bytes);
  });

  test.each(['', '0', '0MB/s', '1bit', '-1', 'MB/s', '100MB/m', '1Mibit', '100 MB per s', 'Infinity', '99999999TB'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseRateBytesPerSecond(text, '--max-upload')).toThrow(invalid('--max-upload'));
    },
  );
});

describe('formatBytes', () => {
  test.each([
    [0, '0 B'],
    [1023, '1 KiB'],
    [999, '999 B'],
    [1536, '1.5 KiB'],
    [64 * 1024 ** 2, '64 MiB'],
    [1000 * 1024 ** 2, '0.98 GiB'],
    [2 * 1024 ** 3, '2 GiB'],
    [140 * 1024 ** 3, '140 GiB'],
  ])('shows %d as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('a rate is bytes a second', () => {
    expect(formatRate(1024 ** 3)).toBe('1 GiB/s');
  });
});

describe('formatSeconds', () => {
  test.each([
    [0, '0.00 s'],
    [0.424, '0.42 s'],
    [12.34, '12.3 s'],
    [59.99, '1m00s'],
    [245, '4m05s'],
    [7380, '2h03m'],
  ])('shows %d as %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });
});

describe('formatCount', () => {
  test('adds the s of a plural', () => {
    expect([0, 1, 2].map((count) => formatCount(count, 'object'))).toEqual(['0 objects', '1 object', '2 objects']);
  });
});
