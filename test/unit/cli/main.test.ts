import { describe, expect, test } from 'vitest';
import { main } from '../../../src/cli/main.ts';

async function run(argv: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  let stdout = '';
  let stderr = '';
  const exitCode = await main(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    environment,
  });
  return { exitCode, stdout, stderr };
}

describe('main', () => {
  test('--help lists the commands, --version is that of the package', async () => {
    const help = await run(['--help']);
    expect(help).toMatchObject({ exitCode: 0, stderr: '' });
    for (const command of ['demo', 'publish', 'get', 'list', 'status']) expect(help.stdout).toContain(`  ${command}`);
    expect(await run(['--version'])).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  });

  test('help of a command shows options with default and environment variable, and examples', async () => {
    const { stdout } = await run(['get', '--help']);
    expect(stdout).toContain('--metadata <uri>');
    expect(stdout.replace(/\s+/g, ' ')).toContain('(default: local:, env: P2PSTORE_METADATA)');
    expect(stdout).toContain('p2pstore get model.safetensors --output');
  });

  test.each([
    [[], 'no command'],
    [['fly'], 'fly'],
    [['get', '--output', 'a'], 'name'],
    [['get', 'a'], '--output'],
    [['get', 'a', 'b', '--output', 'c'], 'too many'],
    [['list', '--colour'], '--colour'],
    [['publish'], 'path'],
    [['list', '--timeout', 'soon'], '--timeout'],
    [['list', '--metadata'], '--metadata'],
  ])('%j is a usage error', async (argv, part) => {
    const { exitCode, stdout, stderr } = await run(argv);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^p2pstore: .*\nhint: p2pstore .*--help\n$/);
    expect(stderr).toContain(part);
  });

  test('a usage error is an event too with --json', async () => {
    const { stdout } = await run(['get', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'USAGE' });
  });

  test('environment variables are checked like flags', async () => {
    expect(await run(['list'], { P2PSTORE_SHARD_SIZE: '3' })).toMatchObject({ exitCode: 2 });
  });

  test('leaves no listener on the process', async () => {
    const before = process.listenerCount('SIGINT');
    await run(['--help']);
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});
