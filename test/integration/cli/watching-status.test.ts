/** `p2pstore status --watch`, as a real process. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CliEvent, CliProcess, runCli } from '../../support/cli-process.ts';
import { eventually } from '../../support/eventually.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

describe('p2pstore status --watch', () => {
  let folder: TemporaryFolder;
  let common: string[];

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    common = ['--metadata', `local:${folder.file('metadata')}`];
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const start = (...args: string[]): CliProcess => new CliProcess([...args, ...common]);

  test('shows sources as they come and go, until Ctrl-C', async () => {
    const content = randomBytes(2_000_000);
    await fs.writeFile(folder.file('model'), content);
    await using publisher = start('publish', folder.file('model'), '--json');
    const { segment: gold } = await publisher.event('serving');
    await using watcher = start('status', 'model', '-w', '--interval', '200ms', '--json', '--timeout', '90s');
    await using plain = start('status', 'model', '--watch', '--interval', '200ms');
    const statusWith = (what: string, isWanted: (status: CliEvent) => boolean): Promise<CliEvent> =>
      eventually(what, () => watcher.events.findLast((event) => event.event === 'status' && isWanted(event)), {
        deadlineMs: 30_000,
      });
    const alone = await statusWith('the gold source alone', ({ sources }) => sources === 1);
    expect(alone['list']).toMatchObject([{ segment: gold, role: 'gold', bytes: content.length, from: [] }]);

    const get = ['get', 'model', '--output', folder.file('copy'), '--seed', '--json'];
    await using seeder = start(...get, '--max-download', '1MB/s');
    const pulling = await statusWith('bytes on their way', ({ bytesPerSecond }) => Number(bytesPerSecond) > 0);
    expect(pulling).toMatchObject({
      goldBytesPerSecond: pulling['bytesPerSecond'],
      list: [
        { segment: gold, sentBytesPerSecond: pulling['bytesPerSecond'] },
        { role: 'replica', bytesPerSecond: pulling['bytesPerSecond'], from: [{ segment: gold, role: 'gold' }] },
      ],
    });
    const { segment: replica } = await seeder.event('serving');
    const both = await statusWith('two complete sources', ({ complete }) => complete === 2);
    expect(both).toMatchObject({
      goldBytes: content.length,
      unreachable: 0,
      list: [
        { segment: gold },
        { segment: replica, bytes: content.length, from: [{ segment: gold, role: 'gold', bytes: content.length }] },
      ],
    });
    await plain.says('2 sources, 2 complete; nothing moves; gold has given 1.00 copies\n');
    await plain.says(`  from ${gold}`);
    publisher.kill('SIGINT');
    await statusWith('the gold source to vanish', ({ sources, list }) => {
      return sources === 1 && JSON.stringify(list).includes('replica');
    });

    for (const stopped of [watcher, plain]) {
      stopped.kill('SIGINT');
      expect(await stopped.ended()).toMatchObject({ exitCode: 0, stderr: '' });
    }
  });

  test('of an object that nobody serves is exit code 3, and a wrong interval 2', async () => {
    expect(await runCli(['status', 'none', '--watch', ...common])).toMatchObject({ exitCode: 3 });
    const fast = await runCli(['status', 'none', '--watch', '--interval', '1ms', ...common]);
    expect(fast).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('P2P_INVALID_ARGUMENT') });
  });
});
