/** `p2pstore get --wait`, as real processes. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

describe('p2pstore get --wait', () => {
  let folder: TemporaryFolder;
  let common: string[];

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    common = ['--metadata', `local:${folder.file('metadata')}`, '--json'];
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const start = (...args: string[]): CliProcess => new CliProcess([...args, ...common]);

  test('pulls the object, and everything below a prefix, once they are published', async () => {
    const content = randomBytes(3_000_000);
    await fs.writeFile(folder.file('model'), content);
    await fs.mkdir(folder.file('set'));
    await fs.writeFile(folder.file('set/part'), content);
    await using object = start('get', 'a/model', '--wait', '--output', folder.file('copy'), '--timeout', '60s');
    await using prefix = start('get', 'b/', '--wait', '--output', folder.file('out'), '--timeout', '60s');
    expect(await object.event('waiting')).toEqual({ event: 'waiting', name: 'a/model' });
    expect(await prefix.event('waiting')).toEqual({ event: 'waiting', name: 'b/' });

    // A longer name is another object: it must not end the wait.
    await using other = start('publish', folder.file('model'), '--name', 'a/model-2');
    await other.event('serving');
    await using publisher = start('publish', folder.file('model'), '--name', 'a/model');
    await using setPublisher = start('publish', folder.file('set'), '--name', 'b/set');
    await publisher.event('serving');
    await setPublisher.event('serving');

    const { exitCode, stderr, events } = await object.ended();
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(events.map(({ event }) => event).filter((event) => event !== 'progress')).toEqual(['waiting', 'complete']);
    expect((await fs.readFile(folder.file('copy'))).equals(content)).toBe(true);
    expect(await prefix.ended()).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await fs.readFile(folder.file('out/set/part'))).equals(content)).toBe(true);
  });

  test('does not wait for what is there', async () => {
    await fs.writeFile(folder.file('model'), 'bytes');
    await using publisher = start('publish', folder.file('model'));
    await publisher.event('serving');
    const { exitCode, events } = await runCli(['get', 'model', '--wait', '--output', folder.file('copy'), ...common]);
    expect(exitCode).toBe(0);
    expect(events.some(({ event }) => event === 'waiting')).toBe(false);
  });

  test('ends with exit code 4 at --timeout, and with 130 at Ctrl-C', async () => {
    await using interrupted = start('get', 'model', '--wait', '--output', folder.file('new/copy'));
    await interrupted.event('waiting');
    interrupted.kill('SIGINT');
    expect((await interrupted.ended()).exitCode).toBe(130);

    await using late = start('get', 'model', '--wait', '--output', folder.file('copy'), '--timeout', '6s');
    const { exitCode, events } = await late.ended();
    expect(exitCode).toBe(4);
    expect(events.map(({ event }) => event)).toEqual(['waiting', 'error']);
    expect(await fs.readdir(folder.path)).toEqual(['metadata']);
  });

  test('says at once that there is no place for the file', async () => {
    await fs.writeFile(folder.file('file'), '');
    await using get = start('get', 'model', '--wait', '--output', folder.file('file/copy'), '--timeout', '60s');
    const { exitCode, events } = await get.ended();
    expect(exitCode).toBe(1);
    expect(events).toMatchObject([{ event: 'error', code: 'P2P_FILE_FAILED' }]);
  });
});
