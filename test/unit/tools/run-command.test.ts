import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runCommand } from '../../../tools/run-command.ts';

const options = { timeoutMs: 20_000, binaries: [] };

/** A process that has ended may still be listed until the system's first process takes note of it. */
function hasEnded(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

describe('runCommand', () => {
  test('reports output of both streams and the exit code', async () => {
    const result = await runCommand('bash', ['-c', 'echo one; echo two >&2; exit 3'], options);
    expect(result).toEqual({ exitCode: 3, output: 'one\ntwo\n' });
  });

  test('runs in an empty home folder that is gone afterwards', async () => {
    const { output } = await runCommand('bash', ['-c', 'pwd; echo $HOME; echo x > file'], options);
    const [folder, home] = output.trim().split('\n');
    expect(home).toBe(folder);
    expect(existsSync(folder ?? '/')).toBe(false);
  });

  test('puts the given folders in front of PATH', async () => {
    const { output } = await runCommand('bash', ['-c', 'echo $PATH'], { ...options, binaries: ['/one', '/two'] });
    expect(output).toMatch(/^\/one:\/two:/);
  });

  test('ends what the command left in the background', async () => {
    const { exitCode, output } = await runCommand('bash', ['-c', 'sleep 600 & echo $!'], options);
    expect(exitCode).toBe(0);
    await expect.poll(() => hasEnded(Number(output))).toBe(true);
  });

  test('insists where the background does not listen', async () => {
    const script = `bash -c 'trap "" TERM; echo ready; while :; do sleep 1; done' & until grep -q ready .output; do sleep 0.05; done; echo $!`;
    const { output } = await runCommand('bash', ['-c', script], options);
    await expect.poll(() => hasEnded(Number(output.trim().split('\n').at(-1)))).toBe(true);
  });

  test('ends a command that does not end by its deadline', async () => {
    const result = await runCommand('bash', ['-c', 'echo started; sleep 600'], { ...options, timeoutMs: 500 });
    expect(result).toEqual({ exitCode: undefined, output: 'started\n' });
  });

  test('rejects when there is no such command', async () => {
    await expect(runCommand('no-such-command', [], options)).rejects.toThrow('ENOENT');
  });
});
