/** Real processes through `bin/p2pstore`. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { findFreePorts, startEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

const MIB = 1024 * 1024;

describe('p2pstore', () => {
  let folder: TemporaryFolder;
  let common: string[];

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    common = ['--metadata', `local:${folder.file('metadata')}`];
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const start = (...args: string[]): CliProcess => new CliProcess([...args, ...common]);
  const run = (...args: string[]) => runCli([...args, ...common]);

  async function writeRandom(name: string, bytes: number): Promise<Buffer> {
    const content = randomBytes(bytes);
    await fs.mkdir(path.dirname(folder.file(name)), { recursive: true });
    await fs.writeFile(folder.file(name), content);
    return content;
  }

  async function expectNothingListed(): Promise<void> {
    expect(await run('list', '--json')).toMatchObject({ exitCode: 0, events: [], stderr: '' });
  }

  test('a file that one process publishes, another gets; list and status show it', async () => {
    const content = await writeRandom('model.bin', 5 * MIB + 7);
    await using publisher = start('publish', folder.file('model.bin'), '--name', 'a/model', '--json');
    expect(await publisher.event('registered')).toEqual({
      event: 'registered',
      name: 'a/model',
      bytes: content.length,
      seconds: expect.any(Number),
      sources: 1,
    });
    const serving = await publisher.event('serving');
    expect(serving).toMatchObject({ name: 'a/model', objects: 1, bytes: content.length, metadata: common[1] });

    const { exitCode, stderr, events } = await run('get', 'a/model', '--output', folder.file('copy.bin'), '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(events.at(-1)).toEqual({
      event: 'complete',
      name: 'a/model',
      bytes: content.length,
      seconds: expect.any(Number),
      bytesPerSecond: expect.any(Number),
      sources: 1,
      objects: 1,
      files: 1,
      from: [{ segment: serving['segment'], role: 'gold', bytes: content.length }],
    });
    expect((await fs.readFile(folder.file('copy.bin'))).equals(content)).toBe(true);

    expect((await run('list', 'a/', '--json')).events).toEqual([
      { event: 'object', name: 'a/model', bytes: content.length, shards: 1, sources: 1 },
    ]);
    expect((await run('list', 'a/')).stdout).toBe('NAME      SIZE  SHARDS  SOURCES\na/model  5 MiB       1        1\n');
    expect((await run('status', 'a/model', '--json')).events).toEqual([
      expect.objectContaining({ event: 'source', name: 'a/model', segment: serving['segment'], role: 'gold' }),
    ]);

    publisher.kill('SIGINT');
    expect(await publisher.ended()).toMatchObject({ exitCode: 0, stderr: '' });
    await expectNothingListed();
  });

  test('a folder comes back as it was: sub-folders, empty files, empty folders, odd names', async () => {
    await writeRandom('in/a.bin', 3 * MIB);
    await writeRandom('in/sub/deep/er/b.bin', MIB + 1);
    await writeRandom('in/sub/empty', 0);
    await writeRandom("in/it's 100% ünïcode ~1.txt", 10);
    await fs.mkdir(folder.file('in/none/inside'), { recursive: true });
    for (let index = 0; index < 40; index += 1) await writeRandom(`in/many/${index}`, index);
    await using publisher = start('publish', folder.file('in'), '--name', 'set', '--json');
    await publisher.event('serving');
    expect(publisher.events.filter(({ event }) => event === 'registered')).toMatchObject([{ name: 'set/', files: 44 }]);

    const { exitCode, stderr, events } = await run('get', 'set/', '--output', folder.file('out'), '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(events.at(-1)).toMatchObject({ event: 'complete', name: 'set/', objects: 1, files: 44 });
    execFileSync('diff', ['-r', folder.file('in'), folder.file('out')]);
    expect((await fs.readdir(folder.file('out'))).some((name) => name.startsWith('.'))).toBe(false);

    const missing = await run('get', 'set', '--output', folder.file('other'));
    expect(missing.exitCode).toBe(3);
    expect(missing.stderr).toContain('there is a folder "set/"');
    const part = await run('get', 'set/sub/empty', '--output', folder.file('other'));
    expect(part.exitCode).toBe(3);
    expect(part.stderr).toContain('part of the folder "set/"');
    expect((await run('list', '--json')).events).toMatchObject([{ name: 'set/', sources: 1 }]);
  });

  test('files and folders that were published below one name come back together', async () => {
    await writeRandom('in/a.bin', MIB);
    await writeRandom('in/d/sub/b.bin', 1000);
    await writeRandom('in/e/c.bin', MIB);
    await using publisher = start(
      'publish',
      ...['a.bin', 'd', 'e'].map((part) => folder.file(`in/${part}`)),
      '--name',
      'set',
    );
    await publisher.says('get set/ ');
    await writeRandom('out/d/mine', 10);
    const { exitCode, stderr, events } = await run('get', 'set/', '--output', folder.file('out'), '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(events.at(-1)).toMatchObject({ event: 'complete', objects: 3, files: 3 });
    await fs.rename(folder.file('out/d/mine'), folder.file('mine'));
    execFileSync('diff', ['-r', folder.file('in'), folder.file('out')]);
  });

  test('get goes on serving with --seed, also when the publisher is gone', async () => {
    const content = await writeRandom('model', 2 * MIB);
    await using publisher = start('publish', folder.file('model'), '--json');
    await publisher.event('serving');
    await using seeder = start('get', 'model', '--output', folder.file('one'), '--seed', '--json');
    await seeder.event('serving');
    publisher.kill('SIGTERM');
    expect((await publisher.ended()).exitCode).toBe(0);

    expect(await run('get', 'model', '--output', folder.file('two'))).toMatchObject({ exitCode: 0 });
    expect((await fs.readFile(folder.file('two'))).equals(content)).toBe(true);
    seeder.kill('SIGHUP');
    expect(await seeder.ended()).toMatchObject({ exitCode: 0, stderr: '' });
    await expectNothingListed();
  });

  test('get puts an object into a folder that exists, and replaces a file', async () => {
    const content = await writeRandom('model', 1000);
    await writeRandom('out/model', 5000);
    await using publisher = start('publish', folder.file('model'), '--name', 'a/b/model', '--json');
    await publisher.event('serving');
    expect(await run('get', 'a/b/model', '--output', folder.file('out'))).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await fs.readFile(folder.file('out/model'))).equals(content)).toBe(true);
    expect(await run('get', 'a/b/model', '--output', folder.file('new/folder/x'))).toMatchObject({ exitCode: 0 });
    expect((await fs.readFile(folder.file('new/folder/x'))).equals(content)).toBe(true);
  });

  test('without a terminal people get plain lines: how to get it, and what came', async () => {
    await writeRandom('model', 900);
    await using publisher = start('publish', folder.file('model'));
    await publisher.says(`p2pstore get model --output ./model --metadata ${common[1]}`);
    const { stdout } = await run('get', 'model', '--output', folder.file('copy'));
    expect(stdout).toMatch(/^Got 1 object, 900 B, in [\d.]+ s \([^)]*\/s\)\.\n$/);
    expect((await run('list', '--quiet')).stdout).toBe('');
  });

  test('works across a real etcd, with a password', async () => {
    await using etcd = await startEtcd({ password: 'secret' });
    const content = await writeRandom('model', MIB);
    const env = { P2PSTORE_METADATA: etcd.uri, P2PSTORE_ETCD_USER: 'root', P2PSTORE_ETCD_PASSWORD: 'secret' };
    await using publisher = new CliProcess(['publish', folder.file('model'), '--json'], { env });
    await publisher.event('serving');
    expect(await runCli(['get', 'model', '--output', folder.file('copy')], { env })).toMatchObject({ exitCode: 0 });
    expect((await fs.readFile(folder.file('copy'))).equals(content)).toBe(true);

    const denied = await runCli(['list'], { env: { ...env, P2PSTORE_ETCD_PASSWORD: 'wrong' } });
    expect(denied).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('P2P_METADATA_DENIED') });
    expect(denied.stderr).not.toContain('wrong');
    publisher.kill('SIGINT');
    expect((await publisher.ended()).exitCode).toBe(0);
    expect((await runCli(['list', '--json'], { env })).events).toEqual([]);
  });

  test('publish and get listen on the ports that they are told, and say which one is taken', async () => {
    await writeRandom('model', 1000);
    const [dataPort, peerPort, getDataPort, getPeerPort] = await findFreePorts(4);
    const ports = (data = 0, peer = 0): string[] => ['--data-port', `${data}`, '--peer-port', `${peer}`];
    await using publisher = start('publish', folder.file('model'), '--json', ...ports(dataPort, peerPort));
    await publisher.event('serving');
    const get = ['get', 'model', '--output', folder.file('copy')];
    const [dataTaken, peerTaken] = await Promise.all([
      run(...get, ...ports(dataPort, getPeerPort)),
      run(...get, ...ports(getDataPort, peerPort)),
    ]);
    expect(dataTaken).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(`${dataPort}`) });
    expect(peerTaken).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(`${peerPort}.*P2P_INVALID_ARGUMENT`),
    });
    const same = await run(...get, ...ports(getDataPort, getDataPort));
    expect(same).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is the data port too') });

    await using seeder = start(...get, '--seed', '--json', ...ports(getDataPort, getPeerPort));
    await seeder.event('serving');
    const { events } = await run('status', 'model', '--json');
    expect(events.map(({ endpoint }) => endpoint)).toEqual([`127.0.0.1:${peerPort}`, `127.0.0.1:${getPeerPort}`]);
    for (const port of [dataPort, getDataPort]) {
      const socket = net.connect(port ?? 0, '127.0.0.1');
      await once(socket, 'connect');
      socket.destroy();
    }
  });

  test('a publisher that is killed vanishes from the list within its lease', async () => {
    await writeRandom('model', 1000);
    await using publisher = start('publish', folder.file('model'), '--json');
    await publisher.event('serving');
    publisher.kill('SIGKILL');
    await eventually('the object to vanish', async () => (await run('list', '--json')).events.length === 0, {
      deadlineMs: 30_000,
      pollMs: 250,
    });
  });
});
