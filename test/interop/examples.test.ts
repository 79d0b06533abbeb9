/** The Python examples in examples/mooncake/, as docs/mooncake.md shows them. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CliProcess, runCli } from '../support/cli-process.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { expectSameBytes } from '../support/patterned-memory.ts';
import { PROJECT_ROOT } from '../support/project-files.ts';
import { makeTemporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';
import { INTEROP_PYTHON } from './support/mooncake-peer.ts';

/** More than one shard of 64 MiB, and no whole number of them. */
const SIZE_BYTES = (70 << 20) + 12_345;
const NAME = 'models/example.bin';

let cluster: EtcdCluster;
let folder: TemporaryFolder;
let content: Buffer;

beforeEach(async () => {
  cluster = await startEtcd();
  folder = await makeTemporaryFolder();
  content = randomBytes(SIZE_BYTES);
  await fs.writeFile(folder.file('source'), content);
});
afterEach(async () => {
  await folder[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

function startExample(script: string, file: string): ReturnType<typeof spawn> {
  const args = [path.join(PROJECT_ROOT, 'examples/mooncake', script), cluster.member.endpoint, NAME, folder.file(file)];
  const env = { ...process.env, MC_FORCE_TCP: '1', MC_TCP_BIND_ADDRESS: '127.0.0.1' };
  return spawn(INTEROP_PYTHON, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
}

test("read_ours.py reads an object of ours with Mooncake's engine", async () => {
  const segment = ['--metadata', cluster.uri, '--segment', '127.0.0.1:12345'];
  await using publisher = new CliProcess(['publish', folder.file('source'), '--name', NAME, ...segment]);
  await publisher.says('Serving');
  await eventually('the record in the form of Mooncake', async () => {
    const key = Buffer.from(`mooncake/checkpoint/${NAME}`).toString('base64');
    return (await cluster.member.post('kv/range', { key }))['kvs'];
  });
  const reader = startExample('read_ours.py', 'target');
  reader.stdout?.resume();
  expect((await once(reader, 'exit'))[0]).toBe(0);
  expectSameBytes(await fs.readFile(folder.file('target')), content);
});

test("p2pstore gets what serve_theirs.py registered with Mooncake's engine", async () => {
  const server = startExample('serve_theirs.py', 'source');
  try {
    await once(server.stdout ?? expect.fail(), 'data');
    const { exitCode, stderr } = await runCli([
      ...['get', NAME, '--output', folder.file('target')],
      ...['--metadata', cluster.uri, '--segment', '127.0.0.1:12346'],
    ]);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expectSameBytes(await fs.readFile(folder.file('target')), content);
  } finally {
    const ended = once(server, 'exit');
    server.stdin?.end();
    await ended;
  }
});
