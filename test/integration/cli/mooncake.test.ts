/** What the command line says of objects that a model of Mooncake's Go store registered. */
import fs from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CliProcess, runCli } from '../../support/cli-process.ts';
import { type EtcdCluster, startEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { MooncakeStoreModel } from '../../support/mooncake-store-model.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../../support/temporary-folder.ts';
import { expectSameBytes, fillBytes, MIB } from '../../support/test-store.ts';

let etcd: EtcdCluster;
let folder: TemporaryFolder;

beforeAll(async () => {
  etcd = await startEtcd();
  folder = await makeTemporaryFolder();
});

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const run = (...args: string[]) => runCli([...args, '--metadata', etcd.uri]);

describe('an object of a Mooncake store', () => {
  test('is marked as unverified by list and get, for people and for programs', async () => {
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:3001');
    const data = fillBytes(5 * MIB);
    await model.register('theirs/x', [data], MIB);

    const list = await run('list', '--json');
    expect(list.events).toEqual([
      { event: 'object', name: 'theirs/x', bytes: data.length, shards: 5, sources: 1, origin: 'mooncake' },
    ]);
    expect((await run('list')).stdout).toMatch(/ORIGIN\ntheirs\/x .* mooncake, unverified\n/);

    const get = await run('get', 'theirs/x', '--output', folder.file('x'), '--json');
    expect({ exitCode: get.exitCode, stderr: get.stderr }).toEqual({ exitCode: 0, stderr: '' });
    expectSameBytes(await fs.readFile(folder.file('x')), data);
    expect(get.events.at(-1)).toMatchObject({ event: 'complete', origin: 'mooncake', verified: 'none' });
    const progress = get.events.filter(({ event }) => event === 'progress');
    expect(progress.every(({ origin }) => origin === 'mooncake')).toBe(true);

    const said = await run('get', 'theirs/x', '--output', folder.file('y'));
    expect(said.stdout).toContain('Not verified');
    const checked = await run('get', 'theirs/x', '--output', folder.file('z'), '--verify', 'xxh64');
    expect(checked).toMatchObject({ exitCode: 2 });
    const status = await run('status', 'theirs/x');
    expect(status).toMatchObject({ exitCode: 3 });
    expect(status.stderr).toContain('only Mooncake stores have it');
  });
});

describe('p2pstore publish', () => {
  test('shows files to Mooncake stores, unless told not to', async () => {
    await using model = await MooncakeStoreModel.open(etcd.uri, '127.0.0.1:3002');
    const content = fillBytes(MIB + 1);
    await fs.writeFile(folder.file('file'), content);
    const args = ['publish', folder.file('file'), '--json', '--metadata', etcd.uri];
    await using hidden = new CliProcess([
      ...args,
      '--name',
      'hidden',
      '--mooncake-mirror',
      'off',
      '--segment',
      '127.0.0.1:1',
    ]);
    await using shown = new CliProcess([...args, '--name', 'shown', '--segment', '127.0.0.1:2']);
    await hidden.event('serving');
    await shown.event('serving');
    await eventually('the record', async () => (await model.find('shown')) !== undefined);
    const target = Buffer.alloc(content.length);
    await model.getReplica('shown', [target]);
    expectSameBytes(target, content);
    expect(await model.find('hidden')).toBeUndefined();
    const { events } = await run('list', '--json');
    expect(events.map(({ name, origin }) => [name, origin])).toEqual([
      ['hidden', undefined],
      ['shown', undefined],
    ]);
  });
});
