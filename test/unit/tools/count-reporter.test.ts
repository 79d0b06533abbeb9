import { describe, expect, test } from 'vitest';
import type { TestModule } from 'vitest/node';
import { CountReporter } from '../../../tools/count-reporter.ts';

type State = 'passed' | 'failed' | 'skipped';

function moduleOf(states: readonly State[], errors = 0): TestModule {
  return {
    errors: () => Array.from({ length: errors }, () => ({ message: 'Cannot load' })),
    children: { allTests: () => states.map((state) => ({ result: () => ({ state }) })) },
  } as unknown as TestModule;
}

function report(
  modules: readonly TestModule[],
  unhandled: number,
  reason: 'passed' | 'failed' | 'interrupted',
): string {
  let text = '';
  const reporter = new CountReporter((part) => {
    text += part;
  });
  reporter.onTestRunEnd(modules, Array(unhandled).fill({}), reason);
  return text;
}

describe('CountReporter', () => {
  test('adds up all files', () => {
    expect(report([moduleOf(['passed', 'failed']), moduleOf(['passed'])], 0, 'failed')).toBe('2 passed, 1 failed\n');
  });

  test('tells what was skipped on a line of its own', () => {
    expect(report([moduleOf(['passed', 'skipped'])], 0, 'passed')).toBe('1 skipped\n1 passed, 0 failed\n');
  });

  test('counts files that do not load and errors outside of tests as failures', () => {
    expect(report([moduleOf([], 1), moduleOf(['passed'])], 1, 'failed')).toBe('1 passed, 2 failed\n');
  });

  test('never reads "0 failed" after a run that went wrong', () => {
    expect(report([moduleOf(['passed'])], 0, 'interrupted')).toBe('1 passed, 1 failed\n');
    expect(report([], 0, 'failed')).toBe('0 passed, 1 failed\n');
  });
});
