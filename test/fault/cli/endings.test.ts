/** How commands end when something is wrong, or somebody stops them: exit codes, messages, and what they leave behind. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openMetadataStore } from '../../../src/metadata/open-metadata-store.ts';
import { P2PStore } from '../../../src/store/p2p-store.ts';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { findFreePorts } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { mountFileSystem, mountObstacle } from '../../support/mounted-file-system.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';

const MIB = 1024 * 1024;
const cannotMount = await mountObstacle();

describe('p2pstore', () => {
  let folder: TemporaryFolder;
  let metadataUri: string;

  beforeEach(async () => {
    folder = await makeTemporaryFolder();
    metadataUri = `local:${folder.file('metadata')}`;
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  const start = (...args: string[]): CliProcess => new CliProcess([...args, '--metadata', metadataUri]);
  const run = (...args: string[]) => runCli([...args, '--metadata', metadataUri]);
  const filesIn = (name: string): Promise<string[]> => fs.readdir(folder.file(name), { recursive: true });

  /** Publishes `model`, one file, or two files below `set/`. */
  async function publish(name: 'model' | 'set', bytes = 2 * MIB): Promise<CliProcess> {
    const files = (name === 'set' ? ['set/a', 'set/b'] : ['model']).map((file) => folder.file(file));
    if (name === 'set') await fs.mkdir(folder.file('set'));
    for (const file of files) await fs.writeFile(file, randomBytes(bytes));
    const publisher = start('publish', ...files, ...(name === 'set' ? ['--name', 'set'] : []), '--json');
    await publisher.event('serving');
    return publisher;
  }

  test('a name that nobody serves is exit code 3, with a hint', async () => {
    const { exitCode, stderr, events } = await run('get', 'nothing', '--output', folder.file('out'), '--json');
    expect(exitCode).toBe(3);
    expect(events).toEqual([
      { event: 'error', name: 'nothing', code: 'P2P_OBJECT_NOT_FOUND', message: expect.any(String) },
    ]);
    expect(stderr).toMatch(/^p2pstore: .*"nothing".*\(P2P_OBJECT_NOT_FOUND\)\nhint: .*\n$/);
    expect((await run('get', 'nothing/', '--output', folder.file('out'))).exitCode).toBe(3);
    expect((await run('status', 'nothing')).exitCode).toBe(3);
    expect(await filesIn('.')).not.toContain('out');
  });

  test('a path that cannot be published is exit code 1, a name that cannot be one 2', async () => {
    await fs.writeFile(folder.file('a'), '');
    const missing = await run('publish', folder.file('none'));
    expect(missing).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('P2P_FILE_FAILED') });
    const unnamed = await run('publish', folder.file('a'), '--name', 'a\nb');
    expect(unnamed).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('P2P_INVALID_ARGUMENT') });
  });

  test('metadata that nobody answers for is exit code 1, and --timeout is 4', async () => {
    const [port] = await findFreePorts(1);
    const unreachable = ['list', '--metadata', `etcd://127.0.0.1:${port}`];
    expect(await runCli(unreachable)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/P2P_METADATA_UNAVAILABLE\)\nhint: .*127\.0\.0\.1/),
    });
    const late = await runCli([...unreachable, '--timeout', '1ms']);
    expect(late).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('(TIMED_OUT)\nhint: ') });
  });

  test('a live name is refused, and taken with --force', async () => {
    await using _publisher = await publish('model');
    const refused = await run('publish', folder.file('model'));
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/P2P_OBJECT_EXISTS\)\nhint: --force/) });
    await using second = start('publish', folder.file('model'), '--force', '--json');
    await second.event('serving');
    second.kill('SIGINT');
    expect((await second.ended()).exitCode).toBe(0);
  });

  describe('when the only source does not answer', () => {
    /** Stops a publisher that has nothing to write any more: it might have the lock of the embedded store, and nobody get on. */
    async function stop(publisher: CliProcess): Promise<void> {
      await using metadata = await openMetadataStore(metadataUri);
      await eventually('all digests', async () => {
        const { entries } = await metadata.list('p2pstore/v1/objects/');
        return entries.every(({ value }) => Buffer.from(value).includes('"root"'));
      });
      publisher.kill('SIGSTOP');
    }

    test('--timeout ends a get with exit code 4 and leaves nothing', async () => {
      await using publisher = await publish('model');
      await stop(publisher);
      const late = await run('get', 'model', '--output', folder.file('new/out'), '--timeout', '3s');
      expect(late).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('TIMED_OUT') });
      expect((await filesIn('.')).filter((name) => !name.startsWith('metadata'))).toEqual(['model']);
    });

    test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a get with exit code 130 and leaves nothing', async (signal) => {
      await using publisher = await publish('set');
      await fs.mkdir(folder.file('out'));
      await fs.writeFile(folder.file('out/a'), 'old');
      await stop(publisher);
      await using getter = start('get', 'set/', '--output', folder.file('out'), '--log-level', 'debug');
      await getter.staged(folder.file('out'));
      getter.kill(signal);
      expect((await getter.ended()).exitCode).toBe(130);
      expect(await filesIn('out')).toEqual(['a']);
      expect(await fs.readFile(folder.file('out/a'), 'utf8')).toBe('old');

      publisher.kill('SIGCONT');
      const { events } = await run('status', 'set/a', '--json');
      expect(events.map(({ role }) => role)).toEqual(['gold']);
    });
  });

  test('Ctrl-C before anything is registered is exit code 130', async () => {
    const [port] = await findFreePorts(1);
    await fs.writeFile(folder.file('a'), '');
    await using publisher = new CliProcess(['publish', folder.file('a'), '--metadata', `etcd://127.0.0.1:${port}`]);
    await publisher.listensForSignals();
    publisher.kill('SIGINT');
    expect((await publisher.ended()).exitCode).toBe(130);
  });

  test('publish and get --seed end when standard input does, if told so', async () => {
    await fs.writeFile(folder.file('a'), 'a');
    await using publisher = start('publish', folder.file('a'), '--json', '--until-stdin-ends');
    await publisher.event('serving');
    await using getter = start('get', 'a', '--output', folder.file('b'), '--seed', '--json', '--until-stdin-ends');
    await getter.event('serving');
    publisher.endInput();
    expect((await publisher.ended()).exitCode).toBe(0);
    getter.endInput();
    expect((await getter.ended()).exitCode).toBe(0);
    expect((await run('list', '--json')).events).toEqual([]);
  });

  test('a reader that goes away does no harm', async () => {
    await using publisher = await publish('model');
    publisher.closeOutput();
    await using list = start('list', '--json');
    list.closeOutput();
    expect(await list.ended()).toMatchObject({ exitCode: 0, stderr: '' });
    publisher.kill('SIGINT');
    expect(await publisher.ended()).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('a published file that is truncated is an error at the receiver, and no end of the publisher', async () => {
    await using publisher = await publish('model', 8 * MIB);
    await fs.truncate(folder.file('model'), MIB + 1);
    const { exitCode, stderr } = await run('get', 'model', '--output', folder.file('out'), '--timeout', '30s');
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringMatching(/^p2pstore: .*\(P2P_\w+\)/) });
    expect(await filesIn('.')).not.toContain('out');
    publisher.kill('SIGINT');
    expect((await publisher.ended()).exitCode).toBe(0);
  });

  test.skipIf(cannotMount)('a disk that is full is exit code 1, with nothing left on it', async () => {
    await using small = await mountFileSystem('tmpfs', 'size=1m');
    await using _publisher = await publish('model', 3 * MIB);
    const { exitCode, stderr } = await run('get', 'model', '--output', small.file('out'));
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringMatching(/P2P_DISK_FULL\)\nhint: /) });
    expect(await fs.readdir(small.path)).toEqual([]);
  });

  describe('when names are hostile', () => {
    test.each(['x/../../evil', 'x//etc/evil', 'x/a/../../../evil', 'x/..', 'x/ok/./a'])(
      '%s is refused',
      async (name) => {
        await using store = await P2PStore.open(metadataUri, 'hostile');
        await store.register('x/fine', [Buffer.from('fine')], [4], MIB, '*');
        await store.register(name, [Buffer.from('evil')], [4], MIB, '*');
        const { exitCode, stderr } = await run('get', 'x/', '--output', folder.file('a/b/out'));
        expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('P2P_RECORD_INVALID') });
        expect((await filesIn('.')).filter((file) => !file.startsWith('metadata'))).toEqual([]);
      },
    );

    test('a file and a folder of one name are refused', async () => {
      await using store = await P2PStore.open(metadataUri, 'hostile');
      await store.register('x/a', [Buffer.from('file')], [4], MIB, '*');
      await store.register('x/a/b', [Buffer.from('file')], [4], MIB, '*');
      const { exitCode, stderr } = await run('get', 'x/', '--output', folder.file('out'));
      expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('P2P_RECORD_INVALID') });
    });

    test('a link in the output folder that leads out is not followed', async () => {
      await using store = await P2PStore.open(metadataUri, 'hostile');
      await store.register('x/sub/evil', [Buffer.from('evil')], [4], MIB, '*');
      await fs.mkdir(folder.file('out'));
      await fs.mkdir(folder.file('victim'));
      await fs.symlink('../victim', folder.file('out/sub'));
      const { exitCode, stderr } = await run('get', 'x/', '--output', folder.file('out'));
      expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('P2P_FILE_FAILED') });
      expect(await filesIn('victim')).toEqual([]);
    });

    test('what would steer the terminal is shown as its code', async () => {
      await using store = await P2PStore.open(metadataUri, 'hostile');
      await store.register('x/\u202egnp.exe', [Buffer.from('evil')], [4], MIB, '*');
      expect((await run('list')).stdout).toContain('x/\\u{202e}gnp.exe');
    });
  });
});
