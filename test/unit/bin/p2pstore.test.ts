import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PROJECT_ROOT } from '../../support/project-files.ts';

describe('bin/p2pstore', () => {
  let checkout = '';

  beforeEach(() => {
    checkout = fs.mkdtempSync(path.join(os.tmpdir(), 'p2pstore-bin-'));
    fs.mkdirSync(path.join(checkout, 'bin'));
    fs.copyFileSync(path.join(PROJECT_ROOT, 'bin', 'p2pstore'), path.join(checkout, 'bin', 'p2pstore'));
    fs.writeFileSync(path.join(checkout, 'package.json'), '{"type":"module"}');
  });

  afterEach(() => fs.rmSync(checkout, { recursive: true }));

  function launch(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    return spawnSync(path.join(checkout, 'bin', 'p2pstore'), args, { encoding: 'utf8' });
  }

  test('says how to build a checkout that has not been built', () => {
    const { status, stderr } = launch('demo');
    expect(status).toBe(1);
    expect(stderr).toContain('npm run build');
    expect(stderr).toContain(checkout);
  });

  test('passes the arguments to main() and exits with its answer', () => {
    fs.mkdirSync(path.join(checkout, 'dist', 'cli'), { recursive: true });
    fs.writeFileSync(
      path.join(checkout, 'dist', 'cli', 'main.js'),
      'export async function main(argv) { process.stdout.write(argv.join("|")); return 3; }',
    );
    expect(launch('list', 'a b')).toMatchObject({ status: 3, stdout: 'list|a b' });
  });

  test('runs through a link, as npm installs it', () => {
    fs.symlinkSync(path.join(checkout, 'bin', 'p2pstore'), path.join(checkout, 'linked'));
    const { status, stderr } = spawnSync(path.join(checkout, 'linked'), [], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('npm run build');
  });
});
