import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

/**
 * Ends a test run with one line alone, `N passed, N failed`, which programs can read.
 *
 * A file that could not be loaded, an error outside any test and a run that was cut short count as
 * one failure each: a run that went wrong never reads `0 failed`.
 */
export class CountReporter implements Reporter {
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void = (text) => process.stdout.write(text)) {
    this.#write = write;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[], reason: TestRunEndReason): void {
    let passed = 0;
    let failed = unhandled.length;
    let skipped = 0;
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        else if (state === 'failed') failed += 1;
        else skipped += 1;
      }
    }
    if (reason !== 'passed' && failed === 0) failed = 1;
    if (skipped > 0) this.#write(`${skipped} skipped\n`);
    this.#write(`${passed} passed, ${failed} failed\n`);
  }
}
