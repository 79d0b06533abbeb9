import { expect, test } from 'vitest';
import { type Logger, silentLogger } from '../../../src/observability/logger.ts';

test('silentLogger takes every level and writes nothing', () => {
  const written: unknown[] = [];
  const originals = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write }));
  for (const { stream } of originals) {
    stream.write = (chunk: unknown) => written.push(chunk) > 0;
  }
  try {
    for (const level of ['debug', 'info', 'warn', 'error'] as const satisfies readonly (keyof Logger)[]) {
      silentLogger[level]({ fact: 1 }, 'a constant phrase');
    }
  } finally {
    for (const { stream, write } of originals) stream.write = write;
  }
  expect(written).toEqual([]);
});
