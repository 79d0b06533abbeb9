import { describe, expect, test } from 'vitest';
import { Output, type Progress } from '../../../src/cli/output.ts';
import { PullProgress } from '../../../src/cli/pull-progress.ts';

describe('PullProgress', () => {
  test('adds up the bytes of several objects and shows the most sources that one has', () => {
    const shown: Progress[] = [];
    let nowMs = 0;
    const output = new Output({
      json: true,
      quiet: false,
      stdout: { write: (text) => shown.push(JSON.parse(text)) },
      stderr: { write: () => {} },
      clock: { nowMs: () => (nowMs += 1000), after: () => () => {} },
    });
    const progress = new PullProgress(output, 'm/', 100);
    progress.update('m/a', 10, 1);
    progress.update('m/b', 20, 3);
    progress.update('m/a', 30, 2);
    expect(shown).toMatchObject([
      { name: 'm/', bytes: 10, totalBytes: 100, sources: 1 },
      { bytes: 30, sources: 3 },
      { bytes: 50, sources: 3 },
    ]);
    expect(shown.every(({ bytesPerSecond }) => bytesPerSecond >= 0)).toBe(true);
  });
});
