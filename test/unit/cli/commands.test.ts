import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { OPTIONS } from '../../../src/cli/options.ts';

describe('COMMANDS', () => {
  test('have names of their own, options that exist, and examples that run them', () => {
    expect(new Set(COMMANDS.map(({ name }) => name)).size).toBe(COMMANDS.length);
    for (const { name, options, requiredOptions = [], examples } of COMMANDS) {
      expect(new Set(options).size).toBe(options.length);
      for (const key of requiredOptions) expect(options).toContain(key);
      expect(examples.length).toBeGreaterThan(0);
      for (const { line } of examples) {
        expect(line.startsWith(`p2pstore ${name}`)).toBe(true);
        const flags = options.map((key) => /--[a-z-]+/.exec(OPTIONS[key].flags)?.[0]);
        for (const flag of line.match(/--[a-z-]+/g) ?? []) expect(flags).toContain(flag);
      }
    }
  });

  test('use every option somewhere', () => {
    const used = new Set(COMMANDS.flatMap(({ options }) => options));
    expect(Object.keys(OPTIONS).filter((key) => !used.has(key as keyof typeof OPTIONS))).toEqual([]);
  });
});
