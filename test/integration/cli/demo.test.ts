import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { eventually } from '../../support/eventually.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

describe('p2pstore demo', () => {
  let folder: TemporaryFolder;
  beforeEach(async () => {
    folder = await makeTemporaryFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  /** Processes that were started with a path in the folder. */
  async function processes(): Promise<string[]> {
    const pids = (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const lines = await Promise.all(pids.map((pid) => fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
    return lines.filter((line) => line.includes(folder.path));
  }

  test('every peer gets the whole checkpoint, and nothing stays behind', async () => {
    const { exitCode, stderr, stdout } = await runCli(['demo', '--size', '24MiB', '--peers', '3'], {
      env: { TMPDIR: folder.path },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    for (const peer of ['peer-1', 'peer-2', 'peer-3']) {
      expect(stdout).toMatch(new RegExp(`^${peer} .* 24 MiB .* yes .*%`, 'm'));
    }
    expect(await fs.readdir(folder.path)).toEqual([]);
    expect(await processes()).toEqual([]);
  });

  test('--json tells what every peer got, verified and from whom', async () => {
    const { exitCode, events } = await runCli(['demo', '--size', '4MiB', '--peers', '2', '--json'], {
      env: { TMPDIR: folder.path },
    });
    expect(exitCode).toBe(0);
    const complete = events.filter(({ event }) => event === 'complete');
    expect(complete.map(({ peer, verified }) => [peer, verified])).toEqual([
      ['peer-1', true],
      ['peer-2', true],
    ]);
    for (const { bytes, from } of complete) {
      const parts = from as { readonly bytes: number }[];
      expect(parts.reduce((total, part) => total + part.bytes, 0)).toBe(bytes);
    }
  });

  test.each(['SIGINT', 'SIGKILL'] as const)('%s in the middle leaves no process', async (signal) => {
    await using demo = new CliProcess(['demo', '--size', '256MiB'], { env: { TMPDIR: folder.path } });
    await eventually('peers to run', async () => (await processes()).length >= 5);
    demo.kill(signal);
    const { exitCode } = await demo.ended();
    await eventually('all processes to end', async () => (await processes()).length === 0);
    if (signal === 'SIGKILL') return;
    expect(exitCode).toBe(130);
    expect(await fs.readdir(folder.path)).toEqual([]);
  });

  test('refuses to start without room for it', async () => {
    const { exitCode, stderr } = await runCli(['demo', '--size', '900TiB'], { env: { TMPDIR: folder.path } });
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('P2P_DISK_FULL') });
    expect(await fs.readdir(folder.path)).toEqual([]);
  });
});
