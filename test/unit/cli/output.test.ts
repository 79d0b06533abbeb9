import { describe, expect, test } from 'vitest';
import { formatProgress, formatTable, Output, printable, shellWord } from '../../../src/cli/output.ts';

class Sink {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number;
  readonly rows = 5;

  constructor(isTTY = false, columns = 80) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }

  get lines(): string[] {
    return this.text.split('\n').filter((line) => line !== '');
  }
}

function setUp({ json = false, quiet = false, isTTY = false, columns = 200 } = {}) {
  const stdout = new Sink(isTTY, columns);
  const stderr = new Sink();
  const time = { nowMs: 0 };
  const clock = { nowMs: () => time.nowMs, after: () => () => {} };
  return { stdout, stderr, time, output: new Output({ json, quiet, stdout, stderr, clock }) };
}

const progress = { name: 'model', bytes: 512, totalBytes: 1024, seconds: 1, bytesPerSecond: 256, sources: 3 };

describe('Output', () => {
  test('event() writes one JSON object a line with --json, and nothing for people', () => {
    const { output, stdout } = setUp({ json: true });
    output.event({ event: 'complete', name: 'a\nb', bytes: 5, seconds: 1.23456, bytesPerSecond: 4.05 }, 'Done.');
    output.line('More.');
    expect(stdout.lines.map((line) => JSON.parse(line))).toEqual([
      { event: 'complete', name: 'a\nb', bytes: 5, seconds: 1.235, bytesPerSecond: 4 },
    ]);
  });

  test('event() says its text to people', () => {
    const { output, stdout } = setUp();
    output.event({ event: 'complete' }, 'Done.');
    output.event({ event: 'registered' });
    expect(stdout.text).toBe('Done.\n');
  });

  test('progress() redraws one line on a terminal, at most five times a second', () => {
    const { output, stdout, time } = setUp({ isTTY: true });
    for (time.nowMs = 0; time.nowMs < 1000; time.nowMs += 10) output.progress(progress);
    expect(stdout.text.split('\r\x1b[2K')).toHaveLength(1 + 5);
    expect(stdout.text).not.toContain('\n');
  });

  test('block() replaces the block before on a terminal, as far as it fits, and nothing that was said since', () => {
    const { output, stdout } = setUp({ isTTY: true });
    const draw = (lines: string[]): string => {
      stdout.text = '';
      output.block({ event: 'status' }, lines);
      return stdout.text;
    };
    const drawn = (up: string, lines: string): string => `\x1b[?7l\r${up}\x1b[J${lines}\n\x1b[?7h`;
    expect(draw(['a', 'b', 'c'])).toBe(drawn('', 'a\nb\nc'));
    expect(draw(['a', 'b'])).toBe(drawn('\x1b[3A', 'a\nb'));
    expect(draw(['a', 'b', 'c', 'd', 'e'])).toBe(drawn('\x1b[2A', 'a\nb\nc\n... 2 lines more'));
    output.log('something happened');
    expect(draw(['a'])).toBe(drawn('', 'a'));
  });

  test('block() writes block after block elsewhere, and an event with --json', () => {
    const plain = setUp();
    plain.output.block({ event: 'status' }, ['a', 'b']);
    plain.output.block({ event: 'status' }, ['c']);
    expect(plain.stdout.text).toBe('a\nb\n\nc\n\n');
    const json = setUp({ json: true });
    json.output.block({ event: 'status', name: 'x' }, ['a']);
    expect(json.stdout.lines.map((line) => JSON.parse(line))).toEqual([{ event: 'status', name: 'x' }]);
  });

  test('a line after progress first clears the progress line', () => {
    const { output, stdout } = setUp({ isTTY: true });
    output.progress(progress);
    output.line('Done.');
    expect(stdout.text.endsWith('\r\x1b[2KDone.\n')).toBe(true);
  });

  test('progress() fits the line to the terminal', () => {
    const { output, stdout } = setUp({ isTTY: true, columns: 21 });
    output.progress(progress);
    expect(stdout.text).toBe('\r\x1b[2K512 B of 1 KiB  50% ');
  });

  test('progress() writes whole lines every few seconds where there is no terminal', () => {
    const { output, stdout, time } = setUp();
    for (time.nowMs = 0; time.nowMs < 16_000; time.nowMs += 100) output.progress(progress);
    expect(stdout.lines).toEqual(Array.from({ length: 3 }, () => formatProgress(progress)));
  });

  test('progress() writes events with --json, at most two a second', () => {
    const { output, stdout, time } = setUp({ json: true, isTTY: true });
    for (time.nowMs = 0; time.nowMs < 1000; time.nowMs += 10) output.progress(progress);
    const event = { event: 'progress', ...progress };
    expect(stdout.lines.map((line) => JSON.parse(line))).toEqual([event, event]);
  });

  test('quiet silences everything but errors', () => {
    const { output, stdout, stderr } = setUp({ quiet: true, isTTY: true });
    output.progress(progress);
    output.line('Done.');
    output.event({ event: 'complete' }, 'Done.');
    output.table(['A'], [['1']]);
    output.error({ message: 'Cannot go on', code: 'P2P_CLOSED' });
    expect(stdout.text).toBe('');
    expect(stderr.text).toBe('p2pstore: Cannot go on (P2P_CLOSED)\n');
  });

  test('error() goes to standard error with a hint, and is an event too with --json', () => {
    const { output, stdout, stderr } = setUp({ json: true });
    output.error({ message: 'Cannot go on', code: 'P2P_CLOSED', name: 'model', hint: 'try again', stack: 'at a' });
    expect(stderr.lines).toEqual(['p2pstore: Cannot go on (P2P_CLOSED)', 'hint: try again', 'at a']);
    expect(JSON.parse(stdout.text)).toEqual({
      event: 'error',
      name: 'model',
      code: 'P2P_CLOSED',
      message: 'Cannot go on',
    });
  });
});

describe('formatProgress', () => {
  test('shows bytes, percent, rate, time left, sources and name', () => {
    expect(formatProgress(progress)).toBe('512 B of 1 KiB  50%  256 B/s  2.00 s left  3 sources  model');
  });

  test('waits when nothing moves, and an empty object is whole', () => {
    expect(formatProgress({ ...progress, bytes: 0, totalBytes: 0, bytesPerSecond: 0, sources: 1 })).toBe(
      '0 B of 0 B  100%  0 B/s  waiting  1 source  model',
    );
  });
});

describe('formatTable', () => {
  test('aligns columns, numbers to the right', () => {
    expect(
      formatTable(
        ['NAME', 'SIZE', 'SOURCES'],
        [
          ['a', '1.5 GiB', '1'],
          ['model', '64 MiB', '12'],
        ],
      ),
    ).toEqual(['NAME      SIZE  SOURCES', 'a      1.5 GiB        1', 'model   64 MiB       12']);
  });
});

describe('printable', () => {
  test('shows what would steer a terminal as its code', () => {
    expect(printable('a\x1b[2Jb\u202ec\r\u0085')).toBe('a\\u{1b}[2Jb\\u{202e}c\\u{d}\\u{85}');
    expect(printable('模型/ä b')).toBe('模型/ä b');
  });
});

describe('shellWord', () => {
  test('quotes only what a shell would read otherwise', () => {
    expect(shellWord('llama/step-1.bin')).toBe('llama/step-1.bin');
    expect(shellWord("it's $HOME")).toBe("'it'\\''s $HOME'");
    expect(shellWord('')).toBe("''");
  });
});
