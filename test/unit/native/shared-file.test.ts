import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSharedFile, lockBytes } from '../../../src/native/shared-file.ts';
import { eventually } from '../../support/eventually.ts';
import { startNodeChild } from '../../support/node-child.ts';

describe('createSharedFile', () => {
  test('makes a file that others open through /proc, and that is gone with its descriptors', () => {
    const fd = createSharedFile('test');
    fs.writeSync(fd, 'hello');
    expect(fs.readFileSync(`/proc/${process.pid}/fd/${fd}`, 'utf8')).toBe('hello');
    fs.closeSync(fd);
    expect(fs.existsSync(`/proc/${process.pid}/fd/${fd}`)).toBe(false);
  });
});

describe('lockBytes', () => {
  let owner: number;
  let other: number;

  beforeEach(() => {
    owner = createSharedFile('test');
    other = fs.openSync(`/proc/self/fd/${owner}`, 'r');
  });
  afterEach(() => {
    fs.closeSync(owner);
    fs.closeSync(other);
  });

  test('keeps an exclusive lock out while somebody shares one of its bytes', () => {
    expect(lockBytes(other, 7, 1, 'shared')).toBe(true);
    expect(lockBytes(owner, 6, 3, 'exclusive')).toBe(false);
    expect(lockBytes(owner, 8, 3, 'exclusive')).toBe(true);
    expect(lockBytes(other, 9, 1, 'shared')).toBe(false);
    expect(lockBytes(other, 7, 1, 'none')).toBe(true);
    expect(lockBytes(owner, 6, 3, 'exclusive')).toBe(true);
  });

  test('loses the locks of a process that is killed', async () => {
    await using child = startNodeChild(
      `const { lockBytes } = await dist('native/shared-file.js');
       const fs = await import('node:fs');
       const fd = fs.openSync(process.argv.at(-1), 'r');
       console.log('locked', lockBytes(fd, 0, 1, 'shared'));
       setInterval(() => {}, 1000);`,
      [`/proc/${process.pid}/fd/${owner}`],
    );
    expect(await child.line('locked')).toBe('locked true');
    expect(lockBytes(owner, 0, 1, 'exclusive')).toBe(false);
    await child.kill();
    await eventually('the lock to be free', () => lockBytes(owner, 0, 1, 'exclusive'));
  });
});
