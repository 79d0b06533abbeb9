import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { hasEnded, readBootId, readOwnIdentity } from '../../../../src/metadata/embedded/process-identity.ts';

describe('hasEnded', () => {
  const self = readOwnIdentity() ?? expect.fail('no identity on this system');

  test('tells a running process from one that was killed, and from a reused pid', async () => {
    const child = spawn('sleep', ['60']);
    const pid = child.pid ?? expect.fail('not started');
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    const owner = { ...self, pid, startTicks };
    expect(hasEnded(owner, self)).toBe(false);
    expect(hasEnded({ ...owner, startTicks: '1' }, self)).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(hasEnded(owner, self)).toBe(true);
  });

  test('knows nothing of another pid namespace', () => {
    expect(hasEnded({ pid: 2 ** 22 + 1, startTicks: '1', pidNamespace: 'pid:[1]' }, self)).toBe(false);
    expect(hasEnded({ ...self, pid: 2 ** 22 + 1 }, self)).toBe(true);
  });

  test('takes itself for running', () => {
    expect(hasEnded(self, self)).toBe(false);
  });
});

describe('readBootId', () => {
  test('reads the id of this boot', () => {
    expect(readBootId()).toMatch(/^[0-9a-f-]{36}$/);
  });
});
