import { describe, expect, test } from 'vitest';
import { runCase } from '../../../sim/case.ts';
import { parseSimOptions, type SimOptions, UsageError } from '../../../sim/options.ts';

function optionsOf(...args: string[]): SimOptions {
  const options = parseSimOptions(['--pieces', '64', ...args]);
  if (options === undefined) throw new Error('only the usage was asked for');
  return options;
}

describe('runCase', () => {
  test('all receivers are whole in little more than the bound, and the gold source sends each piece about once', () => {
    const result = runCase(optionsOf(), 16, 1);
    expect(result.ratio).toBeGreaterThanOrEqual(1);
    expect(result.ratio).toBeLessThan(1.5);
    expect(result.goldCopies).toBeGreaterThanOrEqual(1);
    expect(result.goldCopies).toBeLessThan(1.3);
    expect(result.messagesPerPiece).toBeLessThanOrEqual(2 * 16);
  });

  test('some die and as many join: the rest are whole all the same', () => {
    const result = runCase(optionsOf('--churn', '0.25'), 16, 1);
    expect(result.ratio).toBeGreaterThanOrEqual(1);
    expect(result.ratio).toBeLessThan(1.5);
  });

  test('unequal links, few neighbours, few who follow the gold source', () => {
    const options = optionsOf('--spread', '10', '--churn', '0.1', '--neighbours', '8', '--followers', '4');
    const result = runCase(options, 40, 1);
    expect(result.ratio).toBeGreaterThanOrEqual(1);
    expect(result.ratio).toBeLessThan(2);
  });

  test('the same seed gives the same run, another seed another', () => {
    const options = optionsOf('--churn', '0.2', '--spread', '3');
    const [first, again, other] = [7, 7, 8].map((seed) => ({ ...runCase(options, 12, seed), cpuSeconds: 0, seed: 0 }));
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });
});

describe('parseSimOptions', () => {
  test('reads numbers with their units', () => {
    const options = optionsOf('--receivers', '64,1000', '--rate', '1gbit', '--latency', '0.5ms', '--stagger', '2s');
    expect(options).toMatchObject({ receivers: [64, 1_000], rate: 125_000, latencyMs: 0.5, staggerMs: 2_000 });
    expect(parseSimOptions(['--help'])).toBeUndefined();
  });

  test.each([
    ['--receivers', '0'],
    ['--receivers', '4,many'],
    ['--churn', '2'],
    ['--rate', '100'],
    ['--latency', 'soon'],
    ['--piece-size', 'big'],
    ['--unknown', '1'],
  ])('refuses %s %s', (name, value) => {
    expect(() => parseSimOptions([name, value])).toThrow(UsageError);
  });
});
