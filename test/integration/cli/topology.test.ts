/** `p2pstore topology` as a program, and what it prints given back. */
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCli } from '../../support/cli-process.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

describe('p2pstore topology', () => {
  let folder: TemporaryFolder;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  test('shows the cards and a matrix of them', async () => {
    const { exitCode, stdout } = await runCli(['topology']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^CARD +SPEED +NODE +ADDRESSES +USED$/m);
    expect(stdout).toMatch(/^lo .*127\.0\.0\.1\/8/m);
    const matrix: unknown = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(matrix).toHaveProperty(['*']);
  });

  test('takes back what it printed, edited', async () => {
    const { events } = await runCli(['topology', '--json']);
    const [event] = events;
    expect(event).toMatchObject({
      event: 'topology',
      cards: expect.arrayContaining([expect.objectContaining({ name: 'lo' })]),
    });
    const file = folder.file('topology.json');
    await fs.writeFile(file, JSON.stringify({ ...event, matrix: { '*': [[], ['lo']] } }));
    const again = await runCli(['topology', '--json', '--nic-matrix', file]);
    expect(again.events[0]).toMatchObject({ event: 'topology', matrix: { '*': [[], ['lo']] } });
  });

  test('refuses a card that does not exist, and says which do', async () => {
    const { exitCode, stderr } = await runCli(['topology', '--nic-matrix', '{"*":[["card7"],[]]}']);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/"card7", but this host has .*\blo\b/);
  });
});
