/** Real processes through `bin/p2pstore`, with limits far below what the machine can do. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';
import { expectSameBytes } from '../../support/test-store.ts';

const SIZE_BYTES = 16_000_000;
const LIMIT = 8_000_000;

describe('p2pstore with rate limits', { retry: 2 }, () => {
  let folder: TemporaryFolder;
  let common: string[];
  let content: Buffer;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    common = ['--metadata', `local:${folder.file('metadata')}`];
    content = randomBytes(SIZE_BYTES);
    await fs.writeFile(folder.file('model'), content);
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  async function expectLimited(publish: readonly string[], get: readonly string[]): Promise<void> {
    await using publisher = new CliProcess(['publish', folder.file('model'), '--json', ...publish, ...common]);
    await publisher.event('serving');
    const copy = folder.file('copy');
    const { exitCode, events } = await runCli(['get', 'model', '--output', copy, '--json', ...get, ...common]);
    expect(exitCode).toBe(0);
    const rate = Number(events.at(-1)?.['bytesPerSecond']) / LIMIT;
    expect(rate).toBeLessThanOrEqual(1.05);
    expect(rate).toBeGreaterThanOrEqual(0.5); // in its seconds are those of setting up
    expectSameBytes(await fs.readFile(copy), content);
  }

  test('publish --max-upload sends no faster', () => expectLimited(['--max-upload', '8MB/s'], []));

  test('get --max-download takes no faster', () => expectLimited([], ['--max-download', '64Mbit/s']));

  test('get --seed --max-upload serves on no faster', async () => {
    await using publisher = new CliProcess(['publish', folder.file('model'), '--json', ...common]);
    await publisher.event('serving');
    const [first, second] = [folder.file('first'), folder.file('second')];
    const get = ['get', 'model', '--json', ...common];
    await using seed = new CliProcess([...get, '--output', first, '--seed', '--max-upload', '8MB/s']);
    await seed.event('serving');
    publisher.kill('SIGTERM');
    await publisher.ended();
    const { exitCode, events } = await runCli([...get, '--output', second]);
    expect(exitCode).toBe(0);
    expect(Number(events.at(-1)?.['bytesPerSecond']) / LIMIT).toBeLessThanOrEqual(1.05);
    expectSameBytes(await fs.readFile(second), content);
  });

  test.each(['0', 'fast', '100MB/m', '-1'])('--max-upload %s is an error of usage', async (rate) => {
    const { exitCode, stderr } = await runCli(['publish', folder.file('model'), `--max-upload=${rate}`, ...common]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`--max-upload "${rate}"`);
    expect(stderr).toContain('100MB/s');
  });
});
